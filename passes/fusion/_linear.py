"""Conv, ConvTranspose, Gemm and MatMul as one thing: y = W x + b per channel, with constant W and b.

An affine map per output channel behind it, or per input channel before it, disappears into W and b. Sums
and products are done in float64 and rounded to float32 once.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, producer, rank, sole_consumer
from onnxq.graph.numeric import Array, FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import Affine, has_references, per_channel

__all__ = ["Linear", "channel_operand", "fold_before", "fold_behind"]


@dataclass(frozen=True)
class Linear:
    """The float64 constants of a linear node, in one layout for all operators.

    ``weight`` is [groups, outputs / groups, inputs / groups, *kernel], ``bias`` [outputs] or None; ``gain``
    multiplies the weight at run time (alpha of a Gemm, else 1).
    """

    weight: FloatArray
    bias: FloatArray | None
    gain: float

    @property
    def outputs(self) -> int:
        """The number of output channels."""
        return math.prod(self.weight.shape[:2])

    @property
    def inputs(self) -> int:
        """The number of input channels."""
        return math.prod(self.weight.shape[:3:2])

    def then(self, affine: Affine) -> "Linear":
        """``scale · (W x + b) + shift = (scale · W) x + (scale · b + shift)``"""
        scale = affine.scale.reshape(len(self.weight), -1, *[1] * (self.weight.ndim - 2))
        bias = affine.shift if self.bias is None else self.bias * affine.scale + affine.shift
        return replace(self, weight=self.weight * scale, bias=self._needed(bias))

    def after(self, affine: Affine) -> "Linear":
        """``W (scale · x + shift) + b = (W · scale) x + (W shift + b)``; with padding only if shift is 0."""
        shape = (len(self.weight), 1, -1, *[1] * (self.weight.ndim - 3))
        moved = (self.weight * affine.shift.reshape(shape)).sum(axis=tuple(range(2, self.weight.ndim)))
        bias = self.gain * moved.reshape(-1) + (0 if self.bias is None else self.bias)
        return replace(self, weight=self.weight * affine.scale.reshape(shape), bias=self._needed(bias))

    def _needed(self, bias: FloatArray) -> FloatArray | None:
        return bias if self.bias is not None or bias.any() else None


def fold_behind(node: ir.Node, affine: Affine, at: ir.Node, rw: Rewriter) -> None:
    """Fold the affine map that ``at`` does to each channel of ``node``'s output into ``node``."""
    if isinstance(linear := _read(node, node, at), str):
        return rw.skip(at, linear)
    if linear.outputs != len(affine.scale):
        return rw.skip(at, f"it has {len(affine.scale)} channels, the {node.op_type} {linear.outputs}")
    _rewrite([node, at], node, linear.then(affine), node.inputs[0], rw)
    return None


def fold_before(node: ir.Node, affine: Affine, bn: ir.Node, rw: Rewriter) -> None:
    """Fold the affine map that ``bn`` does to each channel of ``node``'s input into ``node``."""
    if isinstance(linear := _read(node, bn, node), str):
        return rw.skip(node, linear)
    if linear.inputs != len(affine.scale):
        return rw.skip(node, f"it takes {linear.inputs} channels, the {bn.op_type} has {len(affine.scale)}")
    _rewrite([bn, node], node, linear.after(affine), bn.inputs[0], rw)
    return None


def channel_operand(node: ir.Node) -> tuple[ir.Node, FloatArray] | str | None:
    """For ``op(x) ∘ c``: the Conv, ConvTranspose or Gemm and the constant as float64[channels of its output].

    None where ``node`` is nothing of the kind, a reason where only the shape of the constant is in the way.
    """
    sides = [(0, 1), (1, 0)] if node.op_type in ("Add", "Mul") else [(0, 1)]
    for side, other in sides:
        op = producer(node, side, "Conv", "ConvTranspose", "Gemm")
        operand = constant(get_input(node, other))
        if op is None or operand is None:
            continue
        if isinstance(linear := _read_linear(op), str):
            return linear
        axes = 2 if op.op_type == "Gemm" else linear.weight.ndim - 1
        if (found := per_channel(operand, axes, linear.outputs)) is not None:
            return op, found
        return f"its constant {operand.shape} varies along other axes than the channels"
    return None


def _read_linear(node: ir.Node) -> Linear | str:
    """The constants of a linear node, or why they cannot be changed."""
    given = get_input(node, 2)
    weight, bias = constant(get_input(node, 1)), constant(given)
    if has_references(node):
        return f"the attributes of the {node.op_type} are parameters of a function"
    if weight is None or (given is not None and bias is None):
        return f"the weight or bias of the {node.op_type} is not constant"
    if weight.dtype != np.float32:
        return f"the weight of the {node.op_type} is {weight.dtype}; only float32 is folded"
    if node.op_type == "MatMul" and (weight.ndim != 2 or rank(node.inputs[0]) != 2):
        return "the MatMul is not known to be of a matrix and a constant matrix"
    if bias is not None and bias.size > 1 and bias.shape[-1] != bias.size:
        return f"the bias of the {node.op_type} differs from row to row"
    canonical, gemm = _canonical(node, weight.astype(np.float64)), node.op_type == "Gemm"
    linear = Linear(canonical, None, node.attributes.get_float("alpha", 1.0) if gemm else 1.0)
    if bias is None:
        return linear
    beta = node.attributes.get_float("beta", 1.0) if gemm else 1.0
    return replace(linear, bias=np.broadcast_to(bias.reshape(-1) * np.float64(beta), (linear.outputs,)))


def _read(node: ir.Node, before: ir.Node, behind: ir.Node) -> Linear | str:
    """The constants of ``node``, one of two neighbours, or why these cannot become one."""
    if sole_consumer(before.outputs[0]) is not behind:
        return f"something else reads the output of the {before.op_type} before it"
    return _read_linear(node)


def _rewrite(old: list[ir.Node], node: ir.Node, linear: Linear, x: ir.Value | None, rw: Rewriter) -> None:
    """Replace ``old``, which ends in the node in question, by ``node`` on ``x`` with other constants."""
    with np.errstate(over="ignore"):
        weight = np.ascontiguousarray(_layout(node, linear.weight)).astype(np.float32)
        bias = None if linear.bias is None else linear.bias.astype(np.float32)
    if not all(np.isfinite(a).all() for a in (weight, bias) if a is not None):
        return rw.skip(old[-1], "the folded weight or bias is not finite in float32")
    was = node.inputs[1]
    if (given := constant(was)) is not None and np.array_equal(weight, given):
        inputs = [x, was]
    else:
        inputs = [x, rw.const(weight, _name(was, f"{node.op_type}_weight"))]
    if bias is not None:
        inputs.append(rw.const(bias, _name(get_input(node, 2), f"{_name(was, node.op_type)}_bias")))
    op_type = "Gemm" if node.op_type == "MatMul" and bias is not None else node.op_type
    attributes = {name: a for name, a in node.attributes.items() if name != "beta"}
    rw.replace(old, rw.op(op_type, inputs, attributes))
    return None


def _name(value: ir.Value | None, default: str) -> str:
    return (value.name if value is not None else None) or default


def _canonical(node: ir.Node, weight: Array) -> Array:
    """From the operator's layout to [groups, outputs / groups, inputs / groups, *kernel]."""
    if node.op_type not in ("Conv", "ConvTranspose"):
        return np.expand_dims(weight if node.attributes.get_int("transB", 0) else weight.T, 0)
    grouped = weight.reshape(node.attributes.get_int("group", 1), -1, *weight.shape[1:])
    return grouped if node.op_type == "Conv" else grouped.swapaxes(1, 2)


def _layout(node: ir.Node, weight: Array) -> Array:
    """The inverse of ``_canonical``."""
    if node.op_type not in ("Conv", "ConvTranspose"):
        weight = np.squeeze(weight, 0)
        return weight if node.attributes.get_int("transB", 0) else weight.T
    grouped: Array = weight if node.op_type == "Conv" else weight.swapaxes(1, 2)
    return grouped.reshape(-1, *grouped.shape[2:])
