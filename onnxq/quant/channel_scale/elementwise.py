"""Operators that pass a scale through: moves, sums, products."""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, rank
from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.linear import set_constant
from onnxq.quant.channel_scale.moves import align, move
from onnxq.quant.channel_scale.rule import Rule, Scales, Tracer, is_one

__all__ = ["Carry", "Join", "Multiply"]


class Carry(Rule):
    """Rearranging and pooling: f(x / s) = f(x) / s, each element with the scale of its channel.

    A Concat along another axis than the channels makes its inputs share one scale.
    """

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        sources = node.inputs if is_op(node, "Concat") else node.inputs[:1]
        arrays = [tracer.of(value) for value in sources]
        tracer.fix(*node.inputs[len(arrays) :])
        if not any(array.any() for array in arrays):
            return None
        if is_op(node, "Concat") and _joins(node, arrays):
            for array in arrays[1:]:
                tracer.unknowns.equal(arrays[0], array)
            tracer.give(node.outputs[0], np.broadcast_arrays(*arrays)[0])
            return None
        moved = move(node, arrays)
        if moved is None:
            return tracer.fix(*sources)
        for output, ids in zip(node.outputs, moved, strict=False):
            tracer.give(output, ids)
        return None


def _joins(node: ir.Node, arrays: list[IntArray]) -> bool:
    axis = node.attributes.get_int("axis", 0) % arrays[0].ndim
    return all(array.shape[axis] == 1 for array in arrays) and any(array.size > 1 for array in arrays)


class Join(Rule):
    """Add, Sub, Sum, Max, Min, Mean, Where: all operands must share the scale; constants are divided by it."""

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        axes, operands = rank(node.outputs[0]), self._operands(node)
        moving = [value for value in operands if constant(value) is None]
        if axes is None or not all(tracer.free(value) for value in moving):
            return tracer.fix(*moving)
        ids = [align(tracer.of(value), axes) for value in moving]
        for other in ids[1:]:
            tracer.unknowns.equal(ids[0], other)
        tracer.give(node.outputs[0], np.broadcast_arrays(*ids)[0])
        return None

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:
        scale = scales(node.outputs[0])
        if is_one(scale):
            return
        for index, value in enumerate(node.inputs):
            array = constant(value)
            if array is not None and array.dtype == np.float32 and array.any():
                set_constant(rw, node, index, array / scale.reshape(_short(scale.shape, array.ndim)))

    @staticmethod
    def _operands(node: ir.Node) -> list[ir.Value]:
        first = 1 if is_op(node, "Where") else 0
        return [value for value in node.inputs[first:] if value is not None]


def _short(shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """The shape without leading axes of 1 beyond ``axes``: [1, 1, C] meets a bias [C] as [C]."""
    while len(shape) > max(axes, 1) and shape[0] == 1:
        shape = shape[1:]
    return shape


class Multiply(Rule):
    """Mul and Div: the scale of one factor goes on to the product, the other factor has none.

    A constant factor is left as it is; where it differs from channel to channel and the other factor has no
    scale, it takes the product's.
    """

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        out, axes = node.outputs[0], rank(node.outputs[0])
        factors = [value for value in node.inputs if constant(value) is None]
        if axes is None or len(factors) == 0 or (is_op(node, "Div") and node.inputs[0] is not factors[0]):
            return tracer.fix(*node.inputs)
        free = [value for value in factors if tracer.free(value)]
        if len(free) == 2:
            narrow = 0 if tracer.of(free[0]).ndim < tracer.of(free[1]).ndim else 1
            tracer.fix(free.pop(narrow) if not is_op(node, "Div") else free.pop(1))
        if is_op(node, "Div") and free and free[0] is not node.inputs[0]:
            return tracer.fix(free[0])
        if free and factors.count(free[0]) == 1:
            return tracer.give(out, align(tracer.of(free[0]), axes))
        tracer.fix(*free)
        if not free and (axis := self._own_axis(node, axes)) is not None:
            tracer.fresh(out, axis[0], axis[1])
        return None

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:
        scale = scales(node.outputs[0])
        moving = [value for value in node.inputs if constant(value) is None]
        if is_one(scale) or not all(is_one(scales(value)) for value in moving):
            return
        index = 1 if constant(get_input(node, 1)) is not None else 0
        array = constant(node.inputs[index])
        assert array is not None, "only a constant factor takes a scale in"
        short = scale.reshape(_short(scale.shape, array.ndim))
        wanted = array * short if is_op(node, "Div") else array / short
        set_constant(rw, node, index, wanted)

    @staticmethod
    def _own_axis(node: ir.Node, axes: int) -> tuple[int, int] | None:
        """The one axis along which a constant factor differs, and how many channels it has."""
        arrays = [a for value in node.inputs if (a := constant(value)) is not None]
        if len(arrays) != 1 or arrays[0].dtype != np.float32 or arrays[0].ndim > axes:
            return None
        wide = [i for i, size in enumerate(align(arrays[0], axes).shape) if size > 1]
        return (wide[0], arrays[0].size) if len(wide) == 1 else None
