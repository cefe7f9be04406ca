"""A prepared float model on which any plan of quantization can be tried at once, without building a model.

    bench = Bench.of(model, context, inserter)
    effect = bench.measure([bench.setting(plan)])[0]            # what the outputs lose under that plan
    effect.worst                                                # dB

Ranges come from one calibration of all values that any of the plans names. Biases are not rounded here: at
scale s_x·s_w their error is far below that of the products they are added to.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import onnx_ir as ir

from onnxq.calibration.ranges import Eq, Method, get_method
from onnxq.calibration.statistics import Statistic
from onnxq.data.samples import Sample, Samples
from onnxq.errors import DataError
from onnxq.evaluate.metrics import Agreement, Sqnr
from onnxq.evaluate.piecewise import Piecewise, Rounding, Run, Setting
from onnxq.graph.numeric import Array
from onnxq.graph.scopes import named_values
from onnxq.pipeline.context import Context, Progress, silent
from onnxq.quant.formats import IntFormat
from onnxq.quant.measured import measured_ranges
from onnxq.quant.output_search import RememberedSearch
from onnxq.quant.plan import Plan, Role, ValueDecision
from onnxq.quant.resolve import ChannelRange, constant_ranges, resolve
from onnxq.targets.target import Target

__all__ = ["SAMPLES", "Bench", "Effect", "Inserter", "some"]

SAMPLES = 8
"""On how many samples errors are measured, where nobody says."""

_WORKERS = 2

_KEPT = 1 << 29
"""Bytes of activations that are kept from one measurement to the next, over all samples."""


@runtime_checkable
class Inserter(Protocol):
    """A pass that decides where Q/DQ goes, and by which calibration method."""

    @property
    def method(self) -> str: ...

    @property
    def recipe(self) -> str | None: ...

    def plan(self, model: ir.Model, context: Context, /) -> Plan: ...

    def target(self, base: Target) -> Target: ...


@dataclass(frozen=True)
class Effect:
    """SQNR in dB of each float output against the float model; infinite where nothing differs.

    ``decisions``: the share of decisions (argmax) that are those of the float model, of the worst output.
    """

    outputs: Mapping[str, float]
    decisions: float = 1.0

    @property
    def worst(self) -> float:
        """SQNR in dB of the worst output."""
        return min(self.outputs.values(), default=math.inf)


@dataclass(frozen=True)
class Bench:
    """A model in pieces, its ranges, and the samples it is tried on."""

    model: ir.Model
    context: Context
    method: Method
    runner: Piecewise
    samples: Sequence[Sample]
    _values: Mapping[str, ir.Value] = field(repr=False)
    _search: RememberedSearch | None = None
    _constants: dict[tuple[str, int | None], ChannelRange] = field(default_factory=dict, repr=False)
    _exact: dict[int, Mapping[str, Array]] = field(default_factory=dict, repr=False)
    _last: dict[int, Run] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        model: ir.Model,
        context: Context,
        inserter: Inserter,
        plans: Sequence[Plan],
        limit: int = SAMPLES,
    ) -> "Bench":
        """Calibrate once for all ``plans`` and take the model apart; trials run on ``limit`` samples.

        Raises:
            DataError: there are no samples, or they do not fit.
            ModelError: the model cannot be taken apart.
        """
        if context.samples is None or not len(context.samples):
            raise DataError("errors are measured on samples, but none were given: pass --data FOLDER")
        method = get_method(inserter.method)
        names = dict.fromkeys(name for plan in plans for name in plan.measured)
        seen = dict(context.observe(model, {name: method.wants() for name in names}))
        known = _Measured(
            context.target, context.samples, context.seed, context.progress, context.statistics, seen=seen
        )
        cuts = {d.value for plan in plans for d in plan.values if d.role is Role.ACTIVATION}
        chosen = some(context.samples, limit)
        search = RememberedSearch() if isinstance(method, Eq) else None
        runner = Piecewise(model, cuts)
        return cls(model, known, _Remembered(method), runner, chosen, named_values(model), search)

    def setting(self, plan: Plan, only: Iterable[ValueDecision] | None = None) -> Setting:
        """What the pieces read rounded under a plan, or under some of its decisions.

        Raises:
            DataError: the plan measures a value that none of the bench's plans does.
        """
        kept = None if only is None else {decision.value for decision in only}
        ranges = measured_ranges(self.model, plan, self.method, self.context, self._search)
        reads: dict[tuple[int, str], Rounding] = {}
        outputs: dict[str, Rounding] = {}
        for decision, qparams in resolve(plan, self._constant_ranges(plan), ranges):
            if kept is not None and decision.value not in kept:
                continue
            rounding = Rounding(qparams)
            for piece in self.runner.pieces:
                if self._reads(decision, piece.readers.get(decision.value, frozenset())):
                    reads[piece.index, decision.value] = rounding
            if decision.readers is None and decision.value in self.runner.outputs:
                outputs[decision.value] = rounding
        return Setting(reads, outputs)

    def measure(
        self,
        settings: Sequence[Setting],
        near: Setting | None = None,
        progress: Progress = silent,
        what: str = "measuring",
    ) -> list[Effect]:
        """One effect per setting. ``near`` is a setting that they differ little from: it is run first.

        Raises:
            DataError: a sample does not fit the model.
        """
        meters = [_Meters() for _ in settings]
        total = len(settings) * len(self.samples)
        with ThreadPoolExecutor(_WORKERS, "onnxq-try") as pool:
            for number, sample in enumerate(self.samples):
                base = self._base(number, sample, near or Setting())
                exact = self._exact[number]
                jobs = [
                    pool.submit(self._try, sample, setting, base, exact, meter)
                    for setting, meter in zip(settings, meters, strict=True)
                ]
                for done, job in enumerate(jobs, 1):
                    job.result()
                    progress(what, number * len(settings) + done, total)
        return [each.effect() for each in meters]

    def _base(self, number: int, sample: Sample, near: Setting) -> Run:
        """A run of one sample under ``near``; the last one is kept where memory allows."""
        last = self._last.get(number)
        if number not in self._exact:
            last = self.runner.run(sample.feeds, Setting())
            self._exact[number] = dict(last.outputs)
        run = last if last is not None and last.setting == near else self.runner.run(sample.feeds, near, last)
        if sum(array.nbytes for array in run.values.values()) * len(self.samples) < _KEPT:
            self._last[number] = run
        return run

    def _try(
        self, sample: Sample, setting: Setting, base: Run, exact: Mapping[str, Array], meters: "_Meters"
    ) -> None:
        tried = self.runner.run(sample.feeds, setting, base)
        for name, array in exact.items():
            if array.dtype.kind == "f":
                meters.update(name, array, tried.outputs[name])

    def _constant_ranges(self, plan: Plan) -> dict[ValueDecision, ChannelRange]:
        """Those of the whole plan; what an earlier plan had needs no second look."""
        decided = [d for d in plan.values if d.role in (Role.WEIGHT, Role.CONSTANT)]
        new = tuple(d for d in decided if (d.value, d.axis) not in self._constants)
        for decision, span in constant_ranges(replace(plan, values=new), self._values).items():
            self._constants[decision.value, decision.axis] = span
        return {d: self._constants[d.value, d.axis] for d in decided}

    @staticmethod
    def _reads(decision: ValueDecision, readers: frozenset[str]) -> bool:
        return bool(readers) and (decision.readers is None or not readers.isdisjoint(decision.readers))


class _Meters:
    """The metrics of one setting, by output."""

    def __init__(self) -> None:
        self._sqnr: dict[str, Sqnr] = {}
        self._agreement: dict[str, Agreement] = {}

    def update(self, name: str, exact: Array, tried: Array) -> None:
        self._sqnr.setdefault(name, Sqnr()).update(exact, tried)
        self._agreement.setdefault(name, Agreement()).update(exact, tried)

    def effect(self) -> Effect:
        shares = [share for each in self._agreement.values() if (share := each.value()) is not None]
        return Effect({name: meter.value() for name, meter in self._sqnr.items()}, min(shares, default=1.0))


def some(samples: Samples, limit: int) -> list[Sample]:
    """At most ``limit`` samples, evenly spread over all."""
    count = min(limit, len(samples))
    wanted = {round(i * (len(samples) - 1) / max(count - 1, 1)) for i in range(count)}
    return [sample for i, sample in enumerate(samples) if i in wanted]


@dataclass(frozen=True)
class _Measured(Context):
    """A context that has seen all it is asked for."""

    seen: Mapping[str, Statistic] = field(default_factory=dict)

    def observe(self, model: ir.Model, wants: Mapping[str, Statistic]) -> Mapping[str, Statistic]:
        if missing := [name for name in wants if name not in self.seen]:
            raise DataError(f"value '{missing[0]}' was not calibrated")
        return {name: self.seen[name] for name in wants}


@dataclass(frozen=True)
class _Remembered(Method):
    """A method that finds each range once: plans that are tried differ in a few values only."""

    name = "remembered"
    method: Method
    _found: dict[tuple[int, IntFormat, bool], tuple[float, float]] = field(default_factory=dict)

    def wants(self) -> Statistic:
        return self.method.wants()

    def range(self, statistic: Statistic, fmt: IntFormat, *, symmetric: bool = False) -> tuple[float, float]:
        key = id(statistic), fmt, symmetric
        if key not in self._found:
            self._found[key] = self.method.range(statistic, fmt, symmetric=symmetric)
        return self._found[key]
