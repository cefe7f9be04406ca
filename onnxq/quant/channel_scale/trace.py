"""One walk over a graph: which values can have a scale per channel, and which scales belong together."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, is_op, producer, rank
from onnxq.graph.numeric import Array, IntArray
from onnxq.quant.channel_scale.bounds import Bounded
from onnxq.quant.channel_scale.elementwise import Carry, Join, Multiply
from onnxq.quant.channel_scale.gates import GATES, Gated
from onnxq.quant.channel_scale.linear import Linear, read_weight
from onnxq.quant.channel_scale.moves import MOVES
from onnxq.quant.channel_scale.normalization import BatchNorm, Lookup, Normalize, is_norm
from onnxq.quant.channel_scale.product import Product
from onnxq.quant.channel_scale.rule import Barrier, Rule, Tracer

__all__ = ["Rules", "Trace", "trace"]

_JOINED = ("Add", "Sub", "Sum", "Max", "Min", "Mean", "Where")
_NORMALIZED = ("LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization")


@dataclass(frozen=True)
class Rules:
    """The rule of every operator.

    ``gates`` may be taken apart, ``clips`` allows bounds per channel, ``restore`` a Mul before a layer norm.
    """

    gates: frozenset[str] = frozenset(GATES)
    clips: bool = True
    restore: bool = False

    def of(self, node: ir.Node) -> Rule:
        """The rule for one node, by its operator and by which of its inputs are constant."""
        if not is_op(node, node.op_type):
            return Barrier()
        if is_op(node, "MatMul") and all(constant(value) is None for value in node.inputs):
            return Product()
        if is_op(node, "Gather") and constant(node.inputs[0]) is not None:
            return Lookup()
        if is_op(node, "PRelu"):
            return Carry() if constant(node.inputs[1]) is not None else Barrier()
        if is_op(node, *_NORMALIZED):
            return Normalize(restore=self.restore)
        if is_op(node, *GATES):
            return Gated() if is_op(node, *self.gates) else Barrier()
        if is_op(node, "Clip"):
            return Bounded(split=self.clips)
        return next((rule for ops, rule in _TABLE if is_op(node, *ops)), Barrier())


_TABLE: tuple[tuple[tuple[str, ...], Rule], ...] = (
    (("Conv", "ConvTranspose", "Gemm", "MatMul"), Linear()),
    (tuple(MOVES), Carry()),
    (_JOINED, Join()),
    (("Mul", "Div"), Multiply()),
    (("BatchNormalization",), BatchNorm()),
)


@dataclass(frozen=True, eq=False)
class Trace:
    """The unknown scales of a graph: signed numbers 1 … ``count`` per value, 0 for no scale.

    ``ids`` of values themselves, ``inserted`` of what a new Mul makes of a value for the linear nodes
    behind it.
    """

    ids: Mapping[ir.Value, IntArray]
    inserted: Mapping[ir.Value, IntArray]
    count: int

    def of(self, value: ir.Value | None) -> IntArray:
        """The numbers of a value; zeros of its rank where it has no scale."""
        found = self.ids.get(value) if value is not None else None
        return np.zeros((1,) * (rank(value) or 0), np.int64) if found is None else found

    def read(self, value: ir.Value | None) -> IntArray:
        """The numbers of what a linear node reads of a value."""
        found = self.inserted.get(value) if value is not None else None
        return self.of(value) if found is None else found

    def only(self, chosen: Array) -> "Trace":
        """The same with the unknowns of ``chosen`` (bool [count]), numbered anew; the others are 0."""
        numbers = np.concatenate([[0], np.where(chosen, np.cumsum(chosen), 0)])
        ids, inserted = (
            {v: new for v, of in old.items() if (new := np.sign(of) * numbers[np.abs(of)]).any()}
            for old in (self.ids, self.inserted)
        )
        return Trace(ids, inserted, int(np.count_nonzero(chosen)))


def trace(graph: ir.Graph, rules: Rules, insert: Collection[str] = (), *, mul: bool = True) -> Trace:
    """Walk the nodes of a graph in order; bodies of If and Loop are not entered, and what they read is fixed.

    ``insert`` names the linear operators in front of which a second normalization or, with ``mul``,
    a Mul may be put where their input keeps its
    scale.
    """
    found = _walk(graph, rules, ())
    linear = ((node, read_weight(node)) for node in graph if is_op(node, *insert))
    data = (node.inputs[weight.data] for node, weight in linear if weight is not None)
    fixed = [
        value
        for value in data
        if value is not None and value not in found.ids and (mul or is_norm(producer(value)))
    ]
    return _walk(graph, rules, fixed) if fixed else found


def _walk(graph: ir.Graph, rules: Rules, insert: Collection[ir.Value]) -> Trace:
    tracer = Tracer(insert)
    for node in graph:
        rules.of(node).trace(node, tracer)
    for value in list(tracer.ids):
        if value.is_graph_output() or any(use.node.graph is not graph for use in value.uses()):
            tracer.fix(value)
    settled = tracer.unknowns.settle()
    ids, inserted = (
        {v: new for v, of in old.items() if (new := np.sign(of) * settled[np.abs(of)]).any()}
        for old in (tracer.ids, tracer.inserted)
    )
    return Trace(ids, inserted, int(np.abs(settled).max(initial=0)))
