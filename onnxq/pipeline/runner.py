"""Running a pipeline: every pass in order, ``repeat`` to a fixed point, hooks before and after each pass.

A pass stands at a place: ``3/7`` is the third of seven, ``2.repeat[1].4`` the fourth pass in the first round
of the ``repeat`` that is the second item. Reports and errors name places like that.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.errors import OnnxqError, PassError
from onnxq.files import check_folder
from onnxq.graph.rewriter import Skip
from onnxq.pipeline.base import Outcome, Pass
from onnxq.pipeline.context import Context
from onnxq.pipeline.spec import Pipeline, Repeat, Step

__all__ = ["Hook", "RunReport", "StepReport", "check_run", "run_pipeline"]


@dataclass(frozen=True)
class StepReport:
    """What one run of one pass did."""

    pass_: Pass
    text: str
    place: str
    edits: int
    skips: Sequence[Skip]
    seconds: float


@dataclass(frozen=True)
class RunReport:
    """The model at the end of a run, each step on the way, and the repeats that reached their maximum."""

    model: ir.Model
    steps: tuple[StepReport, ...]
    unfinished: tuple[str, ...]
    """One sentence for every ``repeat`` that still made edits in its last round."""

    @property
    def edits(self) -> int:
        return sum(step.edits for step in self.steps)

    @property
    def skips(self) -> Sequence[Skip]:
        """All skips, each once: a ``repeat`` meets the same place in every round."""
        return list(dict.fromkeys(skip for step in self.steps for skip in step.skips))


class Hook:
    """Sees the model between passes. It must not edit it."""

    keeps_input = False
    """Whether the caller needs its model afterwards; the run then works on a copy."""

    def check(self, pipeline: Pipeline) -> None:
        """Called before anything else is done; refuses what cannot be meant."""

    def begin(self, pipeline: Pipeline, model: ir.Model, context: Context) -> None:
        """Called once, before the first pass, with the whole pipeline and the model that it starts from."""

    def before(self, pass_: Pass, place: str, model: ir.Model) -> None:
        """Called before each pass."""

    def after(self, step: StepReport, model: ir.Model) -> None:
        """Called after each pass."""

    def stop(self, step: StepReport) -> bool:
        """Whether the run ends here."""
        return False


def check_run(pipeline: Pipeline, context: Context, hooks: Sequence[Hook] = ()) -> None:
    """Refuse what is wrong whatever the model is: options of passes and hooks, the folder of checkpoints.

    Raises:
        OnnxqError: says what is wrong, with a note on the pass.
    """
    for hook in hooks:
        hook.check(pipeline)
    for pass_ in pipeline.passes():
        try:
            pass_.check(context)
        except OnnxqError as error:
            error.add_note(f"in the options of the pass '{pass_.name}'")
            raise
    if context.checkpoints is not None:
        check_folder(context.checkpoints)


def run_pipeline(
    model: ir.Model, pipeline: Pipeline, context: Context, hooks: Sequence[Hook] = ()
) -> RunReport:
    """Run all passes. The model is edited in place, unless a hook compares; go on with the report's model.

    Raises:
        PassError: something unexpected happened inside a pass; names it and its place.
        OnnxqError: what a pass or hook raises on purpose, with a note on the place.
    """
    check_run(pipeline, context, hooks)
    if any(hook.keeps_input for hook in hooks):
        model = model.clone()
    with _collector_paused():
        return _Run(model, context, hooks).all(pipeline)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: it would walk the whole model again and again, finding nothing.

    On 40,000 nodes it costs a third of the time and makes the growth steeper than linear.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Stopped(Exception):
    """A hook asked for the end."""


class _Run:
    def __init__(self, model: ir.Model, context: Context, hooks: Sequence[Hook]) -> None:
        self.model = model
        self.context = context
        self.hooks = hooks
        self.reports: list[StepReport] = []
        self.unfinished: list[str] = []

    def all(self, pipeline: Pipeline) -> RunReport:
        for hook in self.hooks:
            hook.begin(pipeline, self.model, self.context)
        total = len(pipeline.steps)
        try:
            for i, step in enumerate(pipeline.steps, 1):
                self.item(step, str(i), f"{i}/{total}")
        except _Stopped:
            pass
        return RunReport(self.model, tuple(self.reports), tuple(self.unfinished))

    def item(self, item: Step | Repeat, number: str, place: str) -> int:
        """The number of edits that one item made."""
        return self.repeat(item, number) if isinstance(item, Repeat) else self.step(item, place)

    def repeat(self, loop: Repeat, number: str) -> int:
        edits = 0
        for turn in range(1, loop.max + 1):
            prefix = f"{number}.repeat[{turn}]"
            places = [f"{prefix}.{i}" for i in range(1, len(loop.steps) + 1)]
            made = sum(self.item(step, at, at) for step, at in zip(loop.steps, places, strict=True))
            edits += made
            if not made:
                return edits
        self.unfinished.append(
            f"the repeat at place {number} still made {made} edits in round {loop.max}, its last: "
            "a larger max would go on, unless two of its passes undo each other"
        )
        return edits

    def step(self, step: Step, place: str) -> int:
        with _located(step.pass_, place):
            for hook in self.hooks:
                hook.before(step.pass_, place, self.model)
            start = time.perf_counter()
            outcome = self.apply(step.pass_, place)
            seconds = time.perf_counter() - start
            report = StepReport(step.pass_, str(step), place, outcome.edits, outcome.skips, seconds)
            self.model = outcome.model
            self.reports.append(report)
            for hook in self.hooks:
                hook.after(report, self.model)
        if any(hook.stop(report) for hook in self.hooks):
            raise _Stopped
        return outcome.edits

    def apply(self, pass_: Pass, place: str) -> Outcome:
        try:
            return pass_.run(self.model, self.context)
        except (OnnxqError, MemoryError):
            raise
        except Exception as error:
            raise PassError(
                f"the pass '{pass_.name}' (place {place} of the pipeline) failed with "
                f"{type(error).__name__}: {error}; this is a defect of the pass"
            ) from error


@contextmanager
def _located(pass_: Pass, place: str) -> Iterator[None]:
    """Let every error of a pass or hook say where in the pipeline it comes from."""
    try:
        yield
    except OnnxqError as error:
        error.add_note(f"in the pass '{pass_.name}', place {place} of the pipeline")
        raise
