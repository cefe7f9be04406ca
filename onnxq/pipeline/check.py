"""Holding each pass to its contract: run probe inputs before and after it and compare the outputs.

A pass that says it edited nothing is not run again. What the contracts mean in numbers stands in
``contracts``, how two models are run and compared in ``before_after``. Where inputs or outputs become
integers, their codes are those of the model's metadata ``onnxq.scale.<tensor>`` and
``onnxq.zero_point.<tensor>``.

Where a quantized model seems to break its contract, every layer is checked by itself, on the codes that the
model before the pass computes (``layerwise`` says why): what counts is whether one of them breaks it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import onnx_ir as ir

from onnxq.data.samples import Sample, input_specs
from onnxq.data.synthetic import RandomDataWarning, RandomSamples
from onnxq.errors import ContractError, DataError
from onnxq.evaluate.metrics import sqnr_db
from onnxq.pipeline.base import Contract
from onnxq.pipeline.before_after import Pair, State, as_float
from onnxq.pipeline.context import Context
from onnxq.pipeline.contracts import Limits
from onnxq.pipeline.runner import Hook, StepReport
from onnxq.pipeline.spec import Pipeline

__all__ = ["CheckEach", "CheckRow"]


@dataclass(frozen=True)
class CheckRow:
    """What one check found. ``sqnr_db`` has an entry per float output: infinite where nothing changed."""

    place: str
    text: str
    contract: Contract
    sqnr_db: Mapping[str, float]
    by_layer: bool = False
    """Whether the outputs differ by more than the contract says, and yet every layer keeps it by itself."""
    unchecked: str = ""
    """Why there was nothing to compare with, such as operators that ONNX Runtime does not know yet."""


class CheckEach(Hook):
    """Compare the outputs of the model before and after each pass that edits it.

    Probe inputs are the first ``probes`` samples of the context, or random ones if it has none.

    Raises:
        ContractError: a pass broke its contract; names the first value that differs and by how much.
            ``previous`` is the model before that pass.
        DataError: the samples do not fit, or there are none and random ones cannot be made.
    """

    keeps_input = True

    def __init__(self, limits: Limits | None = None, probes: int = 2) -> None:
        self.rows: list[CheckRow] = []
        self.previous: ir.Model | None = None
        self._limits = limits or Limits()
        self._probes = probes
        self._samples: Sequence[Sample] = ()
        self._state: State | None = None

    def begin(self, pipeline: Pipeline, model: ir.Model, context: Context) -> None:
        self.rows = []
        self._samples = _probe_inputs(model, context, self._probes)
        self._enter(State(model, self._samples))

    def after(self, step: StepReport, model: ir.Model) -> None:
        was = self._state
        if not step.edits or was is None:
            return
        title = (
            f"the pass '{step.pass_.name}' (place {step.place}) broke its contract '{step.pass_.contract}'"
        )
        try:
            now = State(model, self._samples)
        except DataError as error:
            raise ContractError(f"{title}: the model does not take its inputs any more: {error}") from error
        self.rows.append(self._compare(step, title, was, now))
        self._enter(now)

    def _enter(self, state: State) -> None:
        self._state, self.previous = state, state.model

    def _compare(self, step: StepReport, title: str, was: State, now: State) -> CheckRow:
        contract = step.pass_.contract
        if was.failure:
            return CheckRow(step.place, step.text, contract, {}, unchecked=was.failure)
        if now.failure:
            raise ContractError(f"{title}: the model does not run any more: {now.failure}")
        measured: dict[str, list[float]] = {}
        by_layer = False
        for index, sample in enumerate(self._samples):
            pair = Pair(was, now, index, contract, self._limits)
            for name, expected in pair.before.items():
                found = pair.complaint(name, expected, pair.after.get(name))
                if found and (blame := pair.blame()):
                    raise ContractError(f"{title}: output '{name}' {found}, sample '{sample.name}'. {blame}")
                by_layer = by_layer or bool(found)
                if expected.dtype.kind == "f":
                    real = as_float(pair.after[name], expected, now.codes(name))
                    measured.setdefault(name, []).append(sqnr_db(expected, real))
        worst = {name: min(dbs) for name, dbs in measured.items()}
        return CheckRow(step.place, step.text, contract, worst, by_layer=by_layer)


def _probe_inputs(model: ir.Model, context: Context, count: int) -> Sequence[Sample]:
    if context.samples is not None:
        return list(islice(context.samples, count))
    with warnings.catch_warnings():
        # The warning is on ranges measured on random data; comparing a model with itself needs none.
        warnings.simplefilter("ignore", RandomDataWarning)
        return list(RandomSamples(count, input_specs(model), context.seed))
