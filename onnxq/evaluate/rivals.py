"""Choosing between pipelines by what they do to the outputs of a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.evaluate.bench import Inserter
from onnxq.evaluate.compare import compare
from onnxq.evaluate.comparison import Comparison
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import Hook, RunReport, StepReport, run_pipeline
from onnxq.pipeline.spec import Pipeline

__all__ = ["Chosen", "choose", "closeness"]

GAIN_DB = 0.5
"""A rival must bring the outputs closer by this much; less is the luck of other roundings."""


@dataclass(frozen=True)
class Chosen:
    """The name of the winner, and the SQNR of the worst output of each that was tried, in dB."""

    name: str
    measured: Mapping[str, float]


def choose(
    source: ir.Model,
    reference: ir.Model,
    rivals: Mapping[str, Pipeline],
    context: Context,
    shown: Samples,
    edits: Sequence[str],
) -> Chosen:
    """The first of ``rivals``, or the one that comes closer to ``reference`` by ``GAIN_DB`` on ``shown``.

    A rival in which the last of its passes named in ``edits`` changes nothing is the one before it by another
    name, and is not measured. One that leaves more nodes float cannot win. ``source`` is left as it is.

    Raises:
        OnnxqError: a pipeline fails, or its model does not run.
    """
    first, *others = rivals
    reports: dict[str, RunReport] = {}
    for name in others:
        same = _Same([step.name for step in rivals[name].passes() if step.name in edits][-1])
        report = run_pipeline(source.clone(), rivals[name], context, [same])
        if not same.found:
            reports[name] = report
    if not reports:
        return Chosen(first, {})
    reports[first] = run_pipeline(source.clone(), rivals[first], context)
    measured = {
        name: closeness(compare(reference, report.model, shown, optimize=False))
        for name, report in reports.items()
        if _left_float(report) <= _left_float(reports[first])
    }
    best = max(measured, key=lambda name: measured[name])
    return Chosen(best if measured[best] >= measured[first] + GAIN_DB else first, measured)


@dataclass
class _Same(Hook):
    """Ends a run behind the pass ``name`` if that edits nothing."""

    name: str
    found: bool = False

    def stop(self, step: StepReport) -> bool:
        self.found = self.found or (step.pass_.name == self.name and not step.edits)
        return self.found


def _left_float(report: RunReport) -> int:
    """How many nodes the pass that inserts Q/DQ left alone: it names each."""
    return sum(len(step.skips) for step in report.steps if isinstance(step.pass_, Inserter))


def closeness(comparison: Comparison) -> float:
    """The SQNR of the worst output in dB; minus infinity where nothing could be compared."""
    known = [output.sqnr_db for output in comparison.outputs if not math.isnan(output.sqnr_db)]
    return min(known, default=-math.inf)
