"""Conv, ConvTranspose, Gemm and MatMul with a constant weight: they take any scale on either side.

y_o = Σ_i W_oi x_i + b_o      y'_o = Σ_i (W_oi · s_i / s_o) x'_i + b_o / s_o
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, rank
from onnxq.graph.numeric import Array, FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.rule import Rule, Scales, Tracer, along, is_one, only_along

__all__ = ["Linear", "Weight", "read_weight", "set_constant"]


@dataclass(frozen=True, eq=False)
class Weight:
    """The constant factor of a linear node.

    matrix: float32 [groups, outputs / groups, inputs / groups, kernel elements], a view where possible.
    ``data`` and ``weight`` are indices of the node's inputs; ``axis`` is that of the channels in data and
    output.
    """

    matrix: FloatArray
    data: int
    weight: int
    axis: int
    output_axis: int

    @property
    def inputs(self) -> int:
        """Channels of the data, over all groups."""
        return int(self.matrix.shape[0] * self.matrix.shape[2])

    @property
    def outputs(self) -> int:
        """Channels of the output, over all groups."""
        return int(self.matrix.shape[0] * self.matrix.shape[1])


def read_weight(node: ir.Node) -> Weight | None:
    """The weight of a linear node; None where it is not a constant matrix or filter of float32."""
    if not is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul") or any(
        a.is_ref() for a in node.attributes.values()
    ):
        return None
    side = 0 if is_op(node, "MatMul", "Gemm") and constant(node.inputs[0]) is not None else 1
    array = constant(get_input(node, side))
    if array is None or array.dtype != np.float32 or not np.isfinite(array).all() or array.size == 0:
        return None
    if is_op(node, "Conv", "ConvTranspose"):
        return Weight(_filters(node, array), 0, 1, 1, 1) if array.ndim > 2 else None
    if array.ndim != 2 or (is_op(node, "Gemm") and side == 0) or (rank(node.inputs[1 - side]) or 0) < 2:
        return None
    flipped = bool(node.attributes.get_int("transB", 0)) if is_op(node, "Gemm") else side == 0
    axis = -1 if side == 1 else -2
    rows = array if flipped else array.T
    turned = is_op(node, "Gemm") and node.attributes.get_int("transA", 0) != 0
    return Weight(rows[None, :, :, None], 1 - side, side, -2 if turned else axis, axis)


class Linear(Rule):
    """Scales in and out disappear into weight and bias."""

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        weight, bias = read_weight(node), get_input(node, 2)
        if weight is None or (bias is not None and constant(bias) is None):
            return tracer.fix(*node.inputs)
        ids = tracer.of(data := node.inputs[weight.data])
        if not only_along(ids, weight.axis) or ids.size not in (1, weight.inputs):
            tracer.fix(data)
        tracer.behind(data, weight.axis, weight.inputs)
        tracer.fresh(node.outputs[0], weight.output_axis, weight.outputs)
        return None

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:
        weight = read_weight(node)
        if weight is None:
            return
        before, after = scales(node.inputs[weight.data]), scales(node.outputs[0])
        if is_one(before, after):
            return
        groups, outputs, inputs, _ = weight.matrix.shape
        gain = along(before, weight.inputs).reshape(groups, 1, inputs, 1)
        gain = gain / along(after, weight.outputs).reshape(groups, outputs, 1, 1)
        array = constant(node.inputs[weight.weight])
        assert array is not None, "read_weight has found a constant"
        set_constant(rw, node, weight.weight, _layout(node, weight, weight.matrix * gain, array.shape))
        bias = constant(get_input(node, 2))
        if bias is not None and not is_one(after):
            set_constant(rw, node, 2, bias / along(after, weight.outputs))


def set_constant(rw: Rewriter, node: ir.Node, index: int, array: FloatArray) -> None:
    """Let a node read another constant, rounded to float32; whoever else reads the old one keeps it."""
    was = node.inputs[index]
    name = (was.name if was is not None else None) or f"{node.op_type.lower()}_constant"
    rw.set_input(node, index, rw.const(np.ascontiguousarray(array, np.float32), name))


def _filters(node: ir.Node, array: Array) -> Array:
    """[groups, outputs / groups, inputs / groups, kernel elements] of a convolution."""
    groups = node.attributes.get_int("group", 1)
    grouped = array.reshape(groups, array.shape[0] // groups, array.shape[1], -1)
    return grouped if is_op(node, "Conv") else grouped.swapaxes(1, 2)


def _layout(node: ir.Node, weight: Weight, matrix: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The inverse of ``Weight.matrix``."""
    if is_op(node, "Conv", "ConvTranspose"):
        return (matrix if is_op(node, "Conv") else matrix.swapaxes(1, 2)).reshape(shape)
    rows = matrix[0, :, :, 0]
    flipped = bool(node.attributes.get_int("transB", 0)) if is_op(node, "Gemm") else weight.weight == 0
    return rows if flipped else rows.T
