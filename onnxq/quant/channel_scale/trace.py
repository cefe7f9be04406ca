"""One walk over a graph: which values can have a scale per channel, and which scales belong together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, is_op
from onnxq.graph.numeric import IntArray
from onnxq.quant.channel_scale.bounds import Bounded
from onnxq.quant.channel_scale.elementwise import Carry, Join, Multiply
from onnxq.quant.channel_scale.gates import GATES, Gated
from onnxq.quant.channel_scale.linear import Linear
from onnxq.quant.channel_scale.moves import MOVES
from onnxq.quant.channel_scale.normalization import BatchNorm, Lookup, Normalize
from onnxq.quant.channel_scale.product import Product
from onnxq.quant.channel_scale.rule import Barrier, Rule, Tracer

__all__ = ["Rules", "Trace", "trace"]

_JOINED = ("Add", "Sub", "Sum", "Max", "Min", "Mean", "Where")
_NORMALIZED = ("LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization")


@dataclass(frozen=True)
class Rules:
    """The rule of every operator. ``gates`` are those that may be taken apart, ``clips`` allows bounds per channel."""

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
    """The unknown scales of a graph. ``ids`` has signed numbers 1 … ``count`` per value, 0 for no scale."""

    ids: Mapping[ir.Value, IntArray]
    count: int

    def of(self, value: ir.Value) -> IntArray:
        """The numbers of a value; zeros of its rank where it has no scale."""
        found = self.ids.get(value)
        return np.zeros((1,) * (0 if value.shape is None else len(value.shape)), np.int64) if found is None else found


def trace(graph: ir.Graph, rules: Rules) -> Trace:
    """Walk the nodes of a graph in order; bodies of If and Loop are not entered, and what they read is fixed."""
    tracer = Tracer()
    for node in graph:
        rules.of(node).trace(node, tracer)
    for value in list(tracer.ids):
        if value.is_graph_output() or any(use.node.graph is not graph for use in value.uses()):
            tracer.fix(value)
    settled = tracer.unknowns.settle()
    ids = {value: np.sign(of) * settled[np.abs(of)] for value, of in tracer.ids.items()}
    return Trace({value: of for value, of in ids.items() if of.any()}, int(np.abs(settled).max(initial=0)))
