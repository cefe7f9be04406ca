"""Finding the pass that broke a model, by running prefixes of the pipeline."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.errors import UsageError
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import Hook, StepReport, run_pipeline
from onnxq.pipeline.spec import Pipeline

__all__ = ["Culprit", "bisect"]


@dataclass(frozen=True)
class Culprit:
    """The first pass after which a check fails, with the models before and after it."""

    step: StepReport
    before: ir.Model
    after: ir.Model

    def __str__(self) -> str:
        return f"'{self.step.text}' at place {self.step.place} ({self.step.edits} edits)"


class _StopAt(Hook):
    """End the run behind the pass run of a number, counted from 1."""

    def __init__(self, run: int) -> None:
        self._left = run

    def stop(self, step: StepReport) -> bool:
        self._left -= 1
        return self._left <= 0


def bisect(
    model: ir.Model, pipeline: Pipeline, context: Context, is_bad: Callable[[ir.Model], bool]
) -> Culprit | None:
    """The first pass after which ``is_bad`` holds; None if it does not hold at the end either.

    A binary search over the pass runs that made edits, those inside ``repeat`` one by one: log2(n) runs of a
    prefix. What is bad must stay bad in later passes. The model itself is not changed.

    Raises:
        UsageError: the model is bad before the first pass.
    """

    def prefix(run: int) -> ir.Model:
        return run_pipeline(model.clone(), pipeline, context, [_StopAt(run)]).model if run else model.clone()

    if is_bad(model.clone()):
        raise UsageError("the model fails the check before the first pass: there is nothing to bisect")
    whole = run_pipeline(model.clone(), pipeline, context)
    if not is_bad(whole.model):
        return None
    runs = [run for run, step in enumerate(whole.steps, 1) if step.edits]
    low, high = 0, len(runs) - 1
    while low < high:
        middle = (low + high) // 2
        if is_bad(prefix(runs[middle])):
            high = middle
        else:
            low = middle + 1
    run = runs[low]
    return Culprit(whole.steps[run - 1], prefix(run - 1), prefix(run))
