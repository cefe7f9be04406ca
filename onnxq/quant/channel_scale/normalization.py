"""Operators that end in a gain and an offset per channel, and tables: their outputs take any scale."""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, producer, rank
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.linear import set_constant
from onnxq.quant.channel_scale.rule import Rule, Scales, Tracer, along, is_one, only_along

__all__ = ["BatchNorm", "Lookup", "Normalize", "is_norm", "second_norm"]


class Normalize(Rule):
    """Layer, RMS, instance and group normalization: y' = n(x) · (γ / s) + β / s.

    Their input keeps its scale, unless ``restore`` allows a Mul by the scale in front of it.
    """

    def __init__(self, *, restore: bool) -> None:
        self._restore = restore

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        mul = producer(node, 0, "Mul")
        restored = mul is not None and constant(get_input(mul, 1)) is not None
        if not self._restore or restored or not is_op(node, "LayerNormalization", "RMSNormalization"):
            tracer.fix(*node.inputs)
        gain, offset, axes = constant(get_input(node, 1)), get_input(node, 2), rank(node.outputs[0])
        if gain is None or gain.dtype != np.float32 or gain.ndim != 1 or axes is None:
            return
        if offset is not None and constant(offset) is None:
            return
        last = is_op(node, "LayerNormalization", "RMSNormalization")
        read_again = any(output.uses() for output in node.outputs[1:])
        if (last and node.attributes.get_int("axis", -1) % axes != axes - 1) or read_again:
            return
        tracer.fresh(node.outputs[0], -1 if last else 1, gain.size)

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:
        x, scale, before = node.inputs[0], scales(node.outputs[0]), scales(node.inputs[0])
        if x is not None and not is_one(before):
            restored = rw.op(
                "Mul", [x, rw.const(np.asarray(before, np.float32).reshape(-1), f"{x.name}_scale")], like=x
            )
            rw.set_input(node, 0, restored)
        for index in (1, 2) if not is_one(scale) else ():
            if (array := constant(get_input(node, index))) is not None:
                set_constant(rw, node, index, array / scale.reshape(-1))


def is_norm(node: ir.Node | None) -> bool:
    """Whether a node is a layer or RMS normalization along the last axis with a constant gain per channel."""
    if node is None or not is_op(node, "LayerNormalization", "RMSNormalization"):
        return False
    gain, offset, axes = constant(get_input(node, 1)), get_input(node, 2), rank(node.outputs[0])
    known = gain is not None and gain.ndim == 1 and (offset is None or constant(offset) is not None)
    return known and axes is not None and node.attributes.get_int("axis", -1) in (-1, axes - 1)


def second_norm(value: ir.Value, scale: FloatArray, rw: Rewriter) -> ir.Value | None:
    """value / scale as a second normalization with other constants, where a normalization makes the value."""
    node = producer(value)
    if node is None or not is_norm(node) or node.outputs[0] is not value:
        return None
    arrays = [a for a in (constant(get_input(node, 1)), constant(get_input(node, 2))) if a is not None]
    given = [rw.const(np.asarray(a / scale.reshape(-1), np.float32), f"{value.name}_smooth") for a in arrays]
    return rw.op(node.op_type, [node.inputs[0], *given], node.attributes, like=value)


class BatchNorm(Rule):
    """y' = γ·s_x/s_y · (x' − μ/s_x) / σ + β/s_y"""

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        arrays = [constant(get_input(node, i)) for i in range(1, 5)]
        if any(a is None or a.dtype != np.float32 for a in arrays) or len(node.outputs) != 1:
            return tracer.fix(*node.inputs)
        if not only_along(tracer.of(node.inputs[0]), 1) or node.attributes.get_int("training_mode", 0) != 0:
            return tracer.fix(*node.inputs)
        assert arrays[0] is not None, "checked above"
        tracer.fresh(node.outputs[0], 1, arrays[0].size)
        return None

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:
        before, after = scales(node.inputs[0]), scales(node.outputs[0])
        gain, offset, mean = (constant(node.inputs[i]) for i in (1, 2, 3))
        if is_one(before, after) or gain is None or offset is None or mean is None:
            return
        s_x, s_y = along(before, gain.size), along(after, gain.size)
        for index, array in ((1, gain * s_x / s_y), (2, offset / s_y), (3, mean / s_x)):
            set_constant(rw, node, index, array)


class Lookup(Rule):
    """Gather of rows of a constant table [rows, C]: the table is divided."""

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        table, axis = constant(node.inputs[0]), node.attributes.get_int("axis", 0)
        if table is not None and table.dtype == np.float32 and table.ndim == 2 and axis == 0:
            tracer.fresh(node.outputs[0], -1, table.shape[1])

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:
        scale, table = scales(node.outputs[0]), constant(node.inputs[0])
        if table is not None and not is_one(scale):
            set_constant(rw, node, 0, table / scale.reshape(-1))
