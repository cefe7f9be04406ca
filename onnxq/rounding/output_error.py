"""How far a changed model is from the float one at its outputs, and whether it has come closer."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.graph.numeric import Array, FloatArray
from onnxq.rounding.judged import judged
from onnxq.rounding.twin import Twin
from onnxq.runtime import Session

__all__ = ["OutputError", "change", "closer"]


class OutputError:
    """Σ (q − f)² / mean Σ f² of some samples, one number each, added up over the values that are judged.

    ``wanted`` tells by position and number of samples which ones count (:mod:`onnxq.rounding.split`). The
    float model runs once; what it gives for these samples stays in memory.
    """

    def __init__(
        self, model: ir.Model, twin: Twin, samples: Samples, wanted: Callable[[int, int], bool]
    ) -> None:
        self._samples, self._counts = samples, wanted
        self._judged = judged(model, twin.nodes)
        self._wanted = list(self._run(twin.model, {each.float_name: each.name for each in self._judged}))
        self._signal: dict[str, float] = {}
        for values in self._wanted:
            for name, array in values.items():
                power = float(np.sum(array**2)) / len(self._wanted)
                self._signal[name] = self._signal.get(name, 0.0) + power

    @property
    def values(self) -> int:
        """How many values are judged."""
        return len(self._judged)

    def of(self, model: ir.Model) -> FloatArray:
        """The error of each sample for a model with the same names; infinite where a value is not finite."""
        made = self._run(model, {each.name: each.name for each in self._judged})
        found = [self._sample(*pair) for pair in zip(self._wanted, made, strict=True)]
        errors: FloatArray = np.nan_to_num(np.array(found), nan=np.inf, posinf=np.inf)
        return errors

    def _sample(self, wanted: Mapping[str, FloatArray], made: Mapping[str, FloatArray]) -> float:
        tiny = np.finfo(np.float64).tiny
        noises = ((name, float(np.sum((made[name] - array) ** 2))) for name, array in wanted.items())
        return sum(noise / max(self._signal[name], tiny) for name, noise in noises)

    def _run(self, model: ir.Model, names: Mapping[str, str]) -> Iterator[Mapping[str, FloatArray]]:
        """What is judged of each sample, by its name in the model that was changed."""
        own = {value.name for value in model.graph.outputs}
        session = Session(model, extra_outputs=[name for name in names if name not in own])
        kinds = {each.name: each for each in self._judged}
        count = len(self._samples)
        for index, sample in enumerate(self._samples):
            if self._counts(index, count):
                made: Mapping[str, Array] = session.run(sample.feeds, list(names))
                yield {known: kinds[known].of(made[name]) for name, known in names.items()}


def change(after: FloatArray, before: FloatArray) -> tuple[float, float]:
    """Mean and standard error of log(after / before) over the samples; the latter is 0 for one sample.

    A log, so that no single sample rules the mean: errors of some are a thousand times those of others.
    """
    least, most = np.finfo(np.float64).tiny, np.finfo(np.float64).max
    ratios = np.log(np.clip(after, least, most)) - np.log(np.clip(before, least, most))
    spread = ratios.std(ddof=1) / np.sqrt(ratios.size) if ratios.size > 1 else 0.0
    return float(ratios.mean()), float(spread)


def closer(after: FloatArray, before: FloatArray) -> bool:
    """Whether errors have fallen, in sum and in the typical sample by more than the error of its mean."""
    mean, spread = change(after, before)
    return bool(np.isfinite(after).all() and after.sum() < before.sum() and mean + spread < 0)
