"""Choosing between pipelines by what they do to the outputs of a model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxq.data.samples import Sample, Samples
from onnxq.errors import DataError
from onnxq.evaluate.bench import Inserter
from onnxq.graph.numeric import FloatArray
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import Hook, RunReport, StepReport, run_pipeline
from onnxq.pipeline.spec import Pipeline
from onnxq.rounding.output_error import OutputError, change, closer
from onnxq.rounding.split import is_held_back
from onnxq.rounding.twin import float_twin

__all__ = ["FAR_DB", "GAIN_DB", "NEAR_DB", "RESORT_DB", "Chosen", "choose"]

NEAR_DB = 30.0
"""Outputs this close to the float model's (an error of 0.1 %) are left alone, and no rival is built."""

GAIN_DB = 1.5
"""A rival must bring the outputs closer by this much; less is the luck of other roundings."""


FAR_DB = 10.0
"""Outputs further off (an error of a third) are of little use: what costs more than scales is tried too."""

RESORT_DB = 6.0
"""A last resort must bring the outputs closer than any rival by this much: half the error."""


@dataclass(frozen=True)
class Chosen:
    """The name of the winner, and the error of each that was tried against the float model, in dB.

    Signal over noise on the samples held back, in the mean of the values that are judged.
    """

    name: str
    measured: Mapping[str, float]


def choose(
    source: ir.Model,
    rivals: Mapping[str, Pipeline],
    context: Context,
    edits: Sequence[str],
    resort: Mapping[str, Pipeline] | None = None,
) -> Chosen:
    """The first of ``rivals``, unless another comes closer to the float model on samples it has not seen.

    Each runs until Q/DQ is in, on three of four samples; its error is measured on the others, and where
    round-weights measures it (:mod:`onnxq.rounding.split`, :mod:`onnxq.rounding.judged`). The first is taken
    without trying any other if it comes as close as ``NEAR_DB``. Another has to lower the error by
    ``GAIN_DB`` in the typical sample, by more than the error of that mean, and in sum; the closest of those
    is taken.

    A rival in which the last of its passes named in ``edits`` changes nothing is the one before it by another
    name, and is not measured. One that leaves more nodes float cannot win. ``source`` is left as it is.

    What is in ``resort`` is tried only where all stay further off than ``FAR_DB``. It may leave nodes float;
    the closest wins, if it does so by ``RESORT_DB`` over the best of the others.

    Raises:
        OnnxqError: there are no samples, a pipeline fails, or its model does not run.
    """
    if context.samples is None:
        raise DataError("rivals are judged on samples, but none were given: pass --data FOLDER")
    seen = replace(context, samples=_Part(context.samples, lambda i, n: not is_held_back(i, n)))
    held = _Part(context.samples, is_held_back)
    first, *others = rivals
    report = run_pipeline(source.clone(), rivals[first], seen, [_UntilInserted()])
    start, left = _error(report.model, held), _left_float(report)
    measured = {first: _decibels(start)}
    best = first
    for name in others if measured[first] < NEAR_DB else ():
        until = _UntilInserted([step.name for step in rivals[name].passes() if step.name in edits][-1])
        report = run_pipeline(source.clone(), rivals[name], seen, [until])
        if until.same or _left_float(report) > left:
            continue
        error = _error(report.model, held)
        measured[name] = _decibels(error)
        if _surely_closer(error, start) and measured[name] > measured[best]:
            best = name
    least = measured[best] + RESORT_DB
    for name, pipeline in (resort or {}).items() if measured[best] < FAR_DB else ():
        error = _error(run_pipeline(source.clone(), pipeline, seen, [_UntilInserted()]).model, held)
        measured[name] = _decibels(error)
        if _surely_closer(error, start) and measured[name] > max(least, measured[best]):
            best = name
    return Chosen(best, measured)


@dataclass(frozen=True)
class _Part(Samples):
    """The samples whose position, of so many, is wanted."""

    samples: Samples
    wanted: Callable[[int, int], bool]

    def __iter__(self) -> Iterator[Sample]:
        count = len(self.samples)
        return (sample for i, sample in enumerate(self.samples) if self.wanted(i, count))

    def __len__(self) -> int:
        count = len(self.samples)
        return sum(self.wanted(i, count) for i in range(count))


@dataclass
class _UntilInserted(Hook):
    """Ends a run behind the pass that inserts Q/DQ, or behind the pass ``name`` if that edits nothing."""

    name: str | None = None
    same: bool = False

    def stop(self, step: StepReport) -> bool:
        self.same = self.same or (step.pass_.name == self.name and not step.edits)
        return self.same or isinstance(step.pass_, Inserter)


def _left_float(report: RunReport) -> int:
    """How many nodes the pass that inserts Q/DQ left alone: it names each."""
    return sum(len(step.skips) for step in report.steps if isinstance(step.pass_, Inserter))


def _error(model: ir.Model, held: Samples) -> FloatArray:
    """Noise over signal of each sample, in the mean of what is judged, against the graph without Q/DQ."""
    error = OutputError(model, float_twin(model), held, lambda index, count: True)
    return error.of(model) / max(error.values, 1)


def _decibels(error: FloatArray) -> float:
    """Infinite without any error, and where nothing is judged."""
    mean = float(error.mean())
    return math.inf if mean == 0 else -10 * math.log10(mean) if math.isfinite(mean) else -math.inf


def _surely_closer(after: FloatArray, before: FloatArray) -> bool:
    mean, _ = change(after, before)
    return closer(after, before) and mean <= -GAIN_DB * math.log(10) / 10
