"""Hooks that watch a run: verify, time, dump, stop. The one that compares values is in ``check``."""

from collections.abc import Collection
from pathlib import Path

import onnx_ir as ir

from onnxq import model_io
from onnxq.errors import ModelError, PassError, UsageError
from onnxq.files import check_folder, write_atomically
from onnxq.graph.outline import outline
from onnxq.graph.verify import Signature, signature, verify
from onnxq.pipeline.base import Contract
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import Hook, StepReport
from onnxq.pipeline.spec import Pipeline
from onnxq.suggest import did_you_mean

__all__ = ["DumpAfter", "StopAfter", "TimePasses", "VerifyEach"]

_LISTED = 8
"""How many passes an error names."""


class VerifyEach(Hook):
    """After each pass the graph must be well formed and keep its inputs and outputs.

    Lowerings (contract ``integer-exact``) may turn inputs and outputs into integers; names and order stay.

    Raises:
        ModelError: the model was not well formed to begin with.
        PassError: a pass left a model that is not.
    """

    def __init__(self) -> None:
        self._kept: Signature | None = None

    def begin(self, pipeline: Pipeline, model: ir.Model, context: Context) -> None:
        verify(model)
        self._kept = signature(model)

    def after(self, step: StepReport, model: ir.Model) -> None:
        kept = self._kept
        if kept is not None and step.pass_.contract is Contract.INTEGER_EXACT:
            kept = kept.names_only()
        try:
            verify(model, kept)
        except ModelError as error:
            raise PassError(
                f"the pass '{step.pass_.name}' (place {step.place}) left a broken model: {error}"
            ) from error
        self._kept = signature(model)


class TimePasses(Hook):
    """How long each pass took, edits and runs included."""

    def __init__(self) -> None:
        self.steps: list[StepReport] = []

    def begin(self, pipeline: Pipeline, model: ir.Model, context: Context) -> None:
        self.steps.clear()

    def after(self, step: StepReport, model: ir.Model) -> None:
        self.steps.append(step)

    def rows(self) -> list[tuple[str, int, int, float]]:
        """(pass, runs, edits, seconds), the slowest first."""
        totals: dict[str, tuple[int, int, float]] = {}
        for step in self.steps:
            runs, edits, seconds = totals.get(step.pass_.name, (0, 0, 0.0))
            totals[step.pass_.name] = (runs + 1, edits + step.edits, seconds + step.seconds)
        return sorted(((name, *total) for name, total in totals.items()), key=lambda row: -row[3])


class DumpAfter(Hook):
    """Write the model into ``folder`` after each pass that edited it, ``003-fuse-silu.onnx`` and ``.txt``.

    The number is that of the pass run; the text is the outline, made for comparing two of them with diff.
    ``names`` limits this to some passes.

    Raises:
        UsageError: the pipeline has no pass of such a name, or the folder cannot be made.
        ModelError: a file cannot be written.
    """

    def __init__(self, folder: Path, names: Collection[str] = ()) -> None:
        self._folder = folder
        self._names = names
        self._runs = 0

    def check(self, pipeline: Pipeline) -> None:
        _check_names(self._names, pipeline)
        check_folder(self._folder)

    def begin(self, pipeline: Pipeline, model: ir.Model, context: Context) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the folder '{self._folder}' for dumps: {error.strerror}"
            ) from error
        self._runs = 0
        if not self._names:
            self._write("000-input", model)

    def after(self, step: StepReport, model: ir.Model) -> None:
        self._runs += 1
        if step.edits and (not self._names or step.pass_.name in self._names):
            self._write(f"{self._runs:03}-{step.pass_.name}", model)

    def _write(self, stem: str, model: ir.Model) -> None:
        model_io.save(model, self._folder / f"{stem}.onnx")
        write_atomically(self._folder / f"{stem}.txt", outline(model).encode())


class StopAfter(Hook):
    """End the run behind the first run of a pass.

    Raises:
        UsageError: the pipeline has no pass of that name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def check(self, pipeline: Pipeline) -> None:
        _check_names([self._name], pipeline)

    def stop(self, step: StepReport) -> bool:
        return step.pass_.name == self._name


def _check_names(names: Collection[str], pipeline: Pipeline) -> None:
    known = list(dict.fromkeys(pass_.name for pass_ in pipeline.passes()))
    for name in names:
        if name not in known:
            listed = ", ".join(known[:_LISTED]) + (" …" if len(known) > _LISTED else "")
            hint = did_you_mean(name, known) or f"; its passes are {listed}"
            raise UsageError(f"the pipeline has no pass '{name}'{hint}")
