"""Where a shift per channel comes from and where it goes: offsets of makers, biases of linear readers."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_float, is_op, rank, sole_consumer
from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.linear import read_weight, set_constant
from onnxq.quant.channel_scale.moves import align
from onnxq.quant.channel_scale.normalization import is_norm

__all__ = ["Maker", "find_maker", "give_back", "take_out", "takes_shift"]


@dataclass(frozen=True, eq=False)
class Maker:
    """The node whose offset takes a shift in: input ``index``, times ``factor``, is added per channel.

    ``rectified``: a Relu stands between the node and the value; ``norm``: a second one can be made.
    """

    node: ir.Node
    index: int
    axis: int
    channels: int
    axes: int
    factor: float = 1.0
    rectified: bool = False
    norm: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one number a channel, with the value's rank."""
        made = [1] * self.axes
        made[self.axis] = self.channels
        return tuple(made)


def find_maker(value: ir.Value, *, rectified: bool = False) -> Maker | None:
    """Who makes a value and could make it less a constant per channel."""
    node, axes = value.producer(), rank(value)
    if node is None or axes is None or not is_float(value) or not value.name:
        return None
    if rectified and is_op(node, "Relu"):
        before = node.inputs[0]
        alone = before is not None and sole_consumer(before) is node
        found = find_maker(before) if before is not None and alone else None
        return None if found is None else replace(found, rectified=True, norm=False)
    return _of_offset(node, axes) or _of_linear(node, axes) or _of_sum(node, axes)


def _of_offset(node: ir.Node, axes: int) -> Maker | None:
    """Layer, instance and batch normalization."""
    if is_op(node, "LayerNormalization") and is_norm(node) and not any(o.uses() for o in node.outputs[1:]):
        gain = constant(get_input(node, 1))
        return None if gain is None else Maker(node, 2, -1, gain.size, axes, norm=True)
    if not is_op(node, "InstanceNormalization", "BatchNormalization") or len(node.outputs) != 1:
        return None
    offset = constant(get_input(node, 2))
    if offset is None or offset.dtype != np.float32 or node.attributes.get_int("training_mode", 0) != 0:
        return None
    return Maker(node, 2, 1, offset.size, axes)


def _of_linear(node: ir.Node, axes: int) -> Maker | None:
    """Conv, ConvTranspose and Gemm with a constant bias or none; a MatMul has none to change."""
    weight, bias = read_weight(node), get_input(node, 2)
    if weight is None or is_op(node, "MatMul") or (bias is not None and constant(bias) is None):
        return None
    beta = node.attributes.get_float("beta", 1.0)
    if beta == 0 or weight.output_axis not in (1, -1):
        return None
    return Maker(node, 2, weight.output_axis, weight.outputs, axes, beta if is_op(node, "Gemm") else 1.0)


def _of_sum(node: ir.Node, axes: int) -> Maker | None:
    """An Add of a constant that has one number a channel."""
    index = next((i for i, v in enumerate(node.inputs) if constant(v) is not None), None)
    if not is_op(node, "Add") or index is None:
        return None
    array = constant(node.inputs[index])
    if array is None or array.dtype != np.float32 or array.ndim > axes:
        return None
    wide = [i for i, size in enumerate(align(array, axes).shape) if size > 1]
    return Maker(node, index, wide[0] - axes, array.size, axes) if len(wide) == 1 else None


def takes_shift(node: ir.Node, index: int, numbers: IntArray, linear: Collection[str]) -> bool:
    """Whether a node is linear in its input ``index``, exactly so at the borders, with a bias to change."""
    weight, bias = read_weight(node), get_input(node, 2)
    if weight is None or not is_op(node, *linear) or is_op(node, "ConvTranspose") or index != weight.data:
        return False
    if sum(value is node.inputs[index] for value in node.inputs) > 1:
        return False
    if bias is not None and constant(bias) is None:
        return False
    if is_op(node, "Gemm") and node.attributes.get_float("beta", 1.0) == 0:
        return False
    pads = node.attributes.get("pads")
    padded = pads is not None and any(pads.as_ints())
    if padded or node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    sizes = [size for i, size in enumerate(numbers.shape) if i != weight.axis % numbers.ndim]
    return all(s == 1 for s in sizes) and numbers.shape[weight.axis] in (1, weight.inputs)


def take_out(maker: Maker, amount: FloatArray, rw: Rewriter) -> None:
    """Let the maker add ``amount`` [channels] less."""
    node, less = maker.node, amount / maker.factor
    old = constant(get_input(node, maker.index))
    if old is None:
        made = rw.const(np.asarray(-less, np.float32), f"{node.outputs[0].name}_offset")
        return rw.set_input(node, maker.index, made)
    shaped = less if old.ndim == 1 and not is_op(node, "Add") else _beside(less, maker, old)
    return set_constant(rw, node, maker.index, old - shaped)


def _beside(less: FloatArray, maker: Maker, old: Array) -> FloatArray:
    """``less`` with the rank that broadcasts against a constant operand."""
    along = less.reshape(maker.shape)
    axes = max(old.ndim, maker.axes - maker.axis % maker.axes)
    return along.reshape(along.shape[along.ndim - axes :])


def give_back(node: ir.Node, amount: FloatArray, rw: Rewriter) -> None:
    """Add what a linear node now misses to its bias; ``amount`` float64, the shift of what it reads."""
    weight = read_weight(node)
    assert weight is not None, "takes_shift has found one"
    groups, outputs, inputs, _ = weight.matrix.shape
    z = np.broadcast_to(amount.reshape(-1), (weight.inputs,)).reshape(groups, inputs)
    missing = np.einsum("goik,gi->go", weight.matrix.astype(np.float64), z).reshape(groups * outputs)
    if is_op(node, "MatMul"):
        return _give_sum(node, missing, weight.output_axis, rw)
    if is_op(node, "Gemm"):
        missing *= node.attributes.get_float("alpha", 1.0) / node.attributes.get_float("beta", 1.0)
    old = constant(get_input(node, 2))
    if old is not None:
        return set_constant(rw, node, 2, old + missing)
    return rw.set_input(node, 2, rw.const(np.asarray(missing, np.float32), f"{node.outputs[0].name}_bias"))


def _give_sum(node: ir.Node, missing: FloatArray, axis: int, rw: Rewriter) -> None:
    """To the constant that is added behind a MatMul; where there is none, an Add is inserted."""
    out = node.outputs[0]
    shaped = missing if axis == -1 else missing[:, None]
    add, axes = sole_consumer(out, "Add"), rank(out) or 0
    for index, value in enumerate(() if add is None else add.inputs):
        old = constant(value)
        if add is not None and old is not None and old.dtype == np.float32 and old.ndim <= axes:
            return set_constant(rw, add, index, old + shaped)
    bias = rw.const(np.asarray(shaped, np.float32), f"{out.name}_bias")
    return rw.interpose(out, rw.op("Add", [out, bias], like=out))
