"""How far a changed model is from the float one at its outputs, and whether it has come closer."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.graph.numeric import Array, FloatArray
from onnxq.runtime import Session

__all__ = ["OutputError", "closer"]


class OutputError:
    """Σ (q − f)² / mean Σ f² of some samples, one number each, added up over the float outputs.

    ``wanted`` tells by position and number of samples which ones count (:mod:`onnxq.rounding.split`). The
    float model runs once; its outputs for these samples stay in memory.
    """

    def __init__(self, twin: ir.Model, samples: Samples, wanted: Callable[[int, int], bool]) -> None:
        self._samples, self._counts = samples, wanted
        self._wanted = list(self._run(twin))
        self._signal: dict[str, float] = {}
        for outputs in self._wanted:
            for name, array in outputs.items():
                power = float(np.sum(array.astype(np.float64) ** 2)) / len(self._wanted)
                self._signal[name] = self._signal.get(name, 0.0) + power

    def of(self, model: ir.Model) -> FloatArray:
        """The error of each sample for a model with the same inputs and outputs; infinite where one is."""
        found = [self._sample(*pair) for pair in zip(self._wanted, self._run(model), strict=True)]
        errors: FloatArray = np.nan_to_num(np.array(found), nan=np.inf, posinf=np.inf)
        return errors

    def _sample(self, wanted: dict[str, Array], made: dict[str, Array]) -> float:
        total = 0.0
        for name, array in wanted.items():
            noise = float(np.sum((made[name].astype(np.float64) - array) ** 2))
            total += noise / max(self._signal[name], np.finfo(np.float64).tiny)
        return total

    def _run(self, model: ir.Model) -> Iterator[dict[str, Array]]:
        session = Session(model)
        count = len(self._samples)
        for index, sample in enumerate(self._samples):
            if self._counts(index, count):
                outputs = session.run(sample.feeds)
                yield {n: a for n, a in outputs.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"}


def closer(after: FloatArray, before: FloatArray) -> bool:
    """Whether errors have fallen, and not by chance: in sum, and in the typical sample by its own spread.

        Σ after < Σ before   and   mean r + std r / √n < 0,   r = log(after / before)

    One sample alone cannot tell a gain from luck by its spread: there the sum decides.
    """
    if not np.isfinite(after).all() or not after.sum() < before.sum():
        return False
    tiny = np.finfo(np.float64).tiny
    ratios = np.log(np.maximum(after, tiny) / np.maximum(np.minimum(before, np.finfo(np.float64).max), tiny))
    spread = ratios.std(ddof=1) / np.sqrt(ratios.size) if ratios.size > 1 else 0.0
    return bool(ratios.mean() + spread < 0)
