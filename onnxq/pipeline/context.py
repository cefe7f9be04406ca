"""What a pass may know besides the model: the target, the calibration data, the seed, how to report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from onnxq.calibration.statistics import Statistic
from onnxq.calibration.store import StatisticsFile
from onnxq.data.samples import Samples
from onnxq.errors import DataError
from onnxq.targets.target import Target, load_target

__all__ = ["Context", "Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)`` while something long runs."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Context:
    """Shared by all passes of one run; never changed by them."""

    target: Target = field(default_factory=lambda: load_target("generic-int8"))
    samples: Samples | None = None
    seed: int = 0
    progress: Progress = silent
    statistics: StatisticsFile | None = None
    """What was measured before, by ``onnxq calibrate``; then nothing is run."""
    checkpoints: Path | None = None
    """A folder in which passes that learn for long keep what is done, so that an interrupted run goes on."""

    def observe(self, model: ir.Model, wants: Mapping[str, Statistic]) -> Mapping[str, Statistic]:
        """Run the calibration samples through ``model`` once and fill one statistic per value name.

        Raises:
            DataError: there are no samples, or they do not fit the model, or a value becomes NaN or Inf; or
                the statistics at hand are of another model, unfinished or lack a value.
        """
        from onnxq.calibration.observe import observe

        if self.statistics is not None:
            return self.statistics.select(model, wants)
        if self.samples is None:
            raise DataError(
                "this pipeline measures activations and needs calibration samples, but none were given: "
                "pass --data FOLDER (or random:8 for a smoke test)"
            )
        return observe(model, wants, self.samples, self.progress)
