"""Insert fake quantization: decide, measure, do."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

import onnx_ir as ir

from onnxq.calibration.statistics import MinMax
from onnxq.errors import ModelError
from onnxq.graph.match import is_op, producer
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes, named_values
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.formats import IntFormat
from onnxq.quant.placement import plan
from onnxq.quant.plan import Plan
from onnxq.quant.qparams import QParams
from onnxq.quant.resolve import Range, constant_ranges, resolve
from onnxq.targets.target import Target

__all__ = ["InsertQdq", "insert_pair"]


@dataclass(frozen=True)
class InsertQdq(Pass):
    """Put QuantizeLinear/DequantizeLinear where the target computes in integers.

           x  =>  DequantizeLinear(QuantizeLinear(x, s, z), s, z)

    *Decide*: target and graph give a plan (``onnxq plan`` prints it). *Measure*: the calibration samples
    run once and give the range of every planned activation. *Do*: each decision becomes one Q/DQ pair.

    Values of one scale group take the union of their ranges. Weights keep their float values in front of
    the pair, so that later passes can still move them; biases become integers when fake-quant is folded.
    Values that have Q/DQ already are left alone: trained ranges win. The options override the target.
    """

    name: ClassVar[str] = "insert-qdq"
    contract: ClassVar[Contract] = Contract.APPROXIMATE

    activation: str | None = None
    weight: str | None = None
    symmetric: bool | None = None
    per_channel: bool | None = None

    def plan(self, model: ir.Model, context: Context, /) -> Plan:
        """The decisions this pass would apply to ``model``."""
        return plan(model, self.target(context.target))

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        decisions = self.plan(rw.model, context)
        _refuse_nothing(decisions, rw.model)
        for node in decisions.nodes:
            if not node.quantized:
                rw.skip(f"{node.op} (output '{node.node}')", node.reason)
        values = named_values(rw.model)
        constants = constant_ranges(decisions, values)
        measured = _measure(rw.model, decisions, context)
        makers = {name: maker for name, value in values.items() if (maker := producer(value)) is not None}
        for decision, qparams in resolve(decisions, constants, measured):
            readers = None if decision.readers is None else [makers[name] for name in decision.readers]
            insert_pair(rw, values[decision.value], qparams, readers)

    def target(self, base: Target) -> Target:
        """The target with this pass's options in place of its own.

        Raises:
            UsageError: an option names no integer format.
        """
        changes: dict[str, object] = {}
        if self.activation is not None:
            changes["activation"] = IntFormat.parse(self.activation)
        if self.weight is not None:
            fmt = IntFormat.parse(self.weight)
            changes["weight"] = IntFormat(fmt.bits, fmt.signed, narrow=fmt.signed)
        if self.symmetric is not None:
            changes["symmetric"] = self.symmetric
        if self.per_channel is False:
            changes["per_channel"] = frozenset[str]()
        return replace(base, **changes) if changes else base  # type: ignore[arg-type]


def _refuse_nothing(decisions: Plan, model: ir.Model) -> None:
    """A model that comes out as it went in would be a surprise."""
    if decisions.quantized_nodes or any(is_op(node, "QuantizeLinear") for node in all_nodes(model)):
        return
    reasons = Counter(f"{node.op}: {node.reason}" for node in decisions.nodes)
    listed = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(5))
    raise ModelError(f"no operator of the model can be quantized for target {decisions.target} ({listed})")


def _measure(model: ir.Model, decisions: Plan, context: Context) -> dict[str, Range]:
    if not decisions.measured:
        return {}
    ranges: dict[str, Range] = {}
    for name, statistic in context.observe(model, {name: MinMax() for name in decisions.measured}).items():
        assert isinstance(statistic, MinMax), "observe fills the statistics it was given"
        ranges[name] = (statistic.min, statistic.max) if statistic.count else (0.0, 0.0)
    return ranges


def insert_pair(
    rw: Rewriter, value: ir.Value, qparams: QParams, readers: list[ir.Node] | None = None
) -> ir.Value:
    """Put one Q/DQ pair behind ``value``; ``readers`` (default: all) read its output, which is returned."""
    name = value.name or "value"
    axis = {} if qparams.axis is None else {"axis": qparams.axis}
    scale = rw.const(qparams.scale, f"{name}_scale")
    zero_point = rw.const(qparams.zero_point, f"{name}_zero_point")
    codes = rw.op(
        "QuantizeLinear",
        [value, scale, zero_point],
        axis,
        like=value,
        dtype=qparams.format.ir_dtype,
        output=f"{name}_quantized",
    )
    real = rw.op(
        "DequantizeLinear", [codes, scale, zero_point], axis, like=value, output=f"{name}_dequantized"
    )
    rw.interpose(value, real, readers)
    return real
