"""Operators that pass a scale through: moves, sums, products."""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, rank
from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.linear import set_constant
from onnxq.quant.channel_scale.moves import align, move
from onnxq.quant.channel_scale.rule import Rule, Scales, Tracer, along, is_one, only_along

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
    """Add, Sub, Sum, Max, Min, Mean, Where: operands share a scale, constants are divided by it."""

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

    A constant that is one number stays as it is; one that differs from channel to channel takes in the scales
    of both sides, y' = x' · (c · s_x / s_y).
    """

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        out, axes = node.outputs[0], rank(node.outputs[0])
        factors = [value for value in node.inputs if constant(value) is None]
        if axes is None or not factors or (is_op(node, "Div") and node.inputs[0] is not factors[0]):
            return tracer.fix(*factors)
        if (own := _own_axis(node, axes)) is not None:
            if not only_along(align(tracer.of(factors[0]), axes), own[0]):
                tracer.fix(factors[0])
            return tracer.fresh(out, *own)
        free = self._free(node, factors, tracer)
        return tracer.give(out, align(tracer.of(free), axes)) if free is not None else None

    @staticmethod
    def _free(node: ir.Node, factors: list[ir.Value | None], tracer: Tracer) -> ir.Value | None:
        """The one factor that keeps its scale; the scale of the other is fixed."""
        free = [value for value in dict.fromkeys(factors) if tracer.free(value)]
        if not free or factors.count(free[0]) > 1:
            tracer.fix(*free)
            return None
        divisor = node.inputs[1] if is_op(node, "Div") else None
        kept = max((v for v in free if v is not divisor), key=lambda v: tracer.of(v).ndim, default=None)
        tracer.fix(*(value for value in free if value is not kept))
        return kept

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:
        axes = rank(node.outputs[0])
        own = _own_axis(node, axes) if axes is not None else None
        index = 1 if constant(get_input(node, 1)) is not None else 0
        array, after = constant(node.inputs[index]), scales(node.outputs[0])
        before = scales(node.inputs[1 - index])
        if own is None or array is None or is_one(before, after):
            return
        gain = (along(before, own[1]) / along(after, own[1])).reshape(array.shape)
        set_constant(rw, node, index, array / gain if is_op(node, "Div") else array * gain)


def _own_axis(node: ir.Node, axes: int) -> tuple[int, int] | None:
    """The one axis along which a constant factor differs, and how many channels it has."""
    arrays = [a for value in node.inputs if (a := constant(value)) is not None]
    if len(arrays) != 1 or arrays[0].dtype != np.float32 or arrays[0].ndim > axes:
        return None
    wide = [i for i, size in enumerate(align(arrays[0], axes).shape) if size > 1]
    return (wide[0], arrays[0].size) if len(wide) == 1 else None
