"""``onnxq run --bisect``: which pass broke the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxq.cli.console import Progress
from onnxq.errors import CheckError, ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxq.data.preprocessing import Preprocessing
    from onnxq.pipeline.context import Context

__all__ = ["Setting", "find_culprit"]


@dataclass(frozen=True)
class Setting:
    """What the passes of a run work for, as the options say it."""

    data: str | None
    target: str
    preprocessing: "Preprocessing | None"
    limit: int | None
    seed: int

    def context(self, model: "ir.Model", progress: Progress) -> "Context":
        """The context of a run with ``model``; opens and checks the samples."""
        from onnxq.api import load_samples
        from onnxq.pipeline.context import Context
        from onnxq.targets.target import load_target

        target = load_target(self.target)
        if self.data is None:
            return Context(target, None, self.seed, progress)
        samples = load_samples(
            model, self.data, preprocessing=self.preprocessing, limit=self.limit, seed=self.seed
        )
        return Context(target, samples, self.seed, progress)


def find_culprit(path: Path, pipeline: str, setting: Setting, progress: Progress) -> None:
    """Look for the first pass that breaks the model; failing that, for one that breaks its contract.

    Raises:
        CheckError: there is one; names it, its place, and what is wrong.
        UsageError: the model is broken before the first pass.
    """
    from onnxq import model_io
    from onnxq.pipeline.bisect import bisect
    from onnxq.pipeline.check import CheckEach
    from onnxq.pipeline.runner import run_pipeline
    from onnxq.pipeline.spec import parse

    steps, model = parse(pipeline), model_io.load(path)
    context = setting.context(model, progress)
    culprit = bisect(model, steps, context, lambda tried: _complaint(tried) != "")
    if culprit is not None:
        raise CheckError(f"the first pass that breaks the model is {culprit}: {_complaint(culprit.after)}")
    run_pipeline(model, steps, context, [CheckEach()])


def _complaint(model: "ir.Model") -> str:
    """Why a model cannot be used, or nothing."""
    from onnxq import model_io
    from onnxq.graph.verify import verify
    from onnxq.runtime import Session

    try:
        verify(model)
        model_io.check(model)
        Session(model, optimize=False, threads=1)
    except ModelError as error:
        return str(error)
    return ""
