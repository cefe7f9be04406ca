"""Gemm and MatMul on codes, of weights or of two activations.

    acc = MatMulInteger(a, b, z_a, z_b)          y = clamp(z_y + α·s_a·s_b[n]/s_y · (acc + b_q[n]))

α and β of a Gemm disappear into the scale and the bias, a transposition of a weight into the weight. The left
operand is uint8 and weights are int8, since ONNX Runtime on x86 is four to six times faster with these
types; an int8 operand on the left becomes uint8 by adding 128 to codes and zero point. Operands of 16 bits
are multiplied half by half (halves.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.linear.convolution import accumulator_term, zero_point
from onnxq.passes.lowering.integer.linear.halves import Part, Sum, combined, halves, whole_bounds
from onnxq.passes.lowering.integer.linear.weight import read_weight
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.retyped import retyped

__all__ = ["lower_matmul"]


@dataclass(frozen=True, eq=False)
class _Right:
    """A right operand or one of its halves, ready to multiply: scale per column, bounds of sums with it."""

    codes: ir.Value
    zero_point: ir.Value
    scale: FloatArray
    bounds: Callable[[Operand], tuple[IntArray, IntArray]]
    factor: int = 1


def lower_matmul(region: Region, rw: Rewriter) -> ir.Value:
    """Gemm, or MatMul of any rank."""
    gemm = is_op(region.node, "Gemm")
    attributes = region.node.attributes
    alpha, beta = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
    left = region.activation(0)
    if gemm and attributes.get_int("transA", 0) != 0:
        left = replace(left, codes=_transposed(rw, left.codes))
    transposed = gemm and attributes.get_int("transB", 0) != 0
    rights = _weight(region, rw, transposed) or _activation(region, rw, left, transposed)
    bias = np.zeros(()) if region.bias is None else region.bias
    if gemm and region.has(2):
        own = region.constant(2)
        if own is None:
            raise Refused("its third input is not constant; add it with an Add behind it")
        bias = bias + beta * own
    sums = [_product(region, rw, part, right) for part in halves(region, rw, left) for right in rights]
    low, high = whole_bounds(sums)
    scale = alpha * left.scale * rights[0].scale
    term, rest = accumulator_term(region, scale, low, high, bias, wide=len(sums) > 1)
    fixed = region.fixed_point([term], constant=rest)
    return requantize(rw, [combined(region, rw, sums)], fixed, region)


def _product(region: Region, rw: Rewriter, part: Part, right: _Right) -> Sum:
    """MatMulInteger of an 8-bit operand or a half with another one."""
    left = retyped(rw, part.operand, ir.DataType.UINT8, region.profile)
    inputs = [left.codes, right.codes, zero_point(rw, left), right.zero_point]
    acc = rw.op("MatMulInteger", inputs, like=region.result, dtype=ir.DataType.INT32)
    return Sum(acc, part.factor * right.factor, *right.bounds(part.operand))


def _weight(region: Region, rw: Rewriter, transposed: bool) -> list[_Right]:
    """A constant right operand; nothing where it is none."""
    operand = region.operand(1)
    if operand.array is None:
        return []
    weight = read_weight(operand, 0 if transposed else operand.array.ndim - 1)
    if transposed:
        weight = replace(weight, codes=weight.codes.T)
    axes = weight.codes.ndim
    codes, zero = weight.constants(rw, ir.DataType.INT8)
    bounds = partial(weight.bounds, axes=(max(axes - 2, 0),), keepdims=axes > 2)
    return [_Right(codes, zero, weight.scale, bounds)]


def _activation(region: Region, rw: Rewriter, left: Operand, transposed: bool) -> list[_Right]:
    operand = region.activation(1)
    length = _length(left.codes.shape, -1) or _length(operand.codes.shape, -1 if transposed else -2)
    if length is None:
        raise Refused("the length of its sums is not known, so that int32 cannot be proven; fix the shapes")
    if transposed:
        operand = replace(operand, codes=_transposed(rw, operand.codes))
    scale, rights = np.asarray(operand.scale, np.float64), []
    for part in halves(region, rw, operand):
        own = part.operand
        if operand.wide and region.profile.dialect == Dialect.FAST:
            own = retyped(rw, own, ir.DataType.INT8, region.profile)
        bounds = partial(_reach, own, length)
        rights.append(_Right(own.codes, zero_point(rw, own), scale, bounds, part.factor))
    return rights


def _reach(right: Operand, length: int, left: Operand) -> tuple[IntArray, IntArray]:
    """Least and greatest sum of so many products."""
    ends = [a * b * length for a in (left.low, left.high) for b in (right.low, right.high)]
    return np.asarray(min(ends), np.int64), np.asarray(max(ends), np.int64)


def _length(shape: ir.Shape | None, axis: int) -> int | None:
    if shape is None or len(shape) < -axis:
        return int(shape[0]) if shape is not None and len(shape) == 1 and isinstance(shape[0], int) else None
    dim = shape[axis]
    return dim if isinstance(dim, int) else None


def _transposed(rw: Rewriter, value: ir.Value) -> ir.Value:
    shape = None if value.shape is None else ir.Shape(list(reversed(list(value.shape))))
    return rw.op("Transpose", [value], {"perm": [1, 0]}, dtype=value.dtype, shape=shape)
