"""Gemm and MatMul on codes, of weights or of two activations.

    acc = MatMulInteger(a, b, z_a, z_b)          y = clamp(z_y + α·s_a·s_b[n]/s_y · (acc + b_q[n]))

α and β of a Gemm disappear into the scale and the bias, a transposition of a weight into the weight. The left
operand is uint8 and weights are int8, since ONNX Runtime on x86 is four to six times faster with these
types; an int8 operand on the left becomes uint8 by adding 128 to codes and zero point.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.convolution import accumulator_term, zero_point
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.requantize import requantize
from onnxq.passes.lowering.integer.retyped import retyped
from onnxq.passes.lowering.integer.weight import read_weight
from onnxq.quant.fixed_point import fixed_point

__all__ = ["lower_matmul"]


@dataclass(frozen=True, eq=False)
class _Right:
    """The right operand, ready to multiply: scale per column, bounds of the sums of products with it."""

    codes: ir.Value
    zero_point: ir.Value
    scale: FloatArray
    low: IntArray
    high: IntArray


def lower_matmul(region: Region, rw: Rewriter) -> ir.Value:
    """Gemm, or MatMul of any rank."""
    gemm = is_op(region.node, "Gemm")
    attributes = region.node.attributes
    alpha, beta = attributes.get_float("alpha", 1.0), attributes.get_float("beta", 1.0)
    left = region.activation(0)
    if gemm and attributes.get_int("transA", 0) != 0:
        left = replace(left, codes=_transposed(rw, left.codes))
    transposed = gemm and attributes.get_int("transB", 0) != 0
    right = _weight(region, rw, left, transposed)
    if right is None:
        right = _activation(region, rw, left, transposed)
    bias = np.zeros(()) if region.bias is None else region.bias
    if gemm and region.has(2):
        own = region.constant(2)
        if own is None:
            raise Refused("its third input is not constant")
        bias = bias + beta * own
    term, rest = accumulator_term(region, alpha * left.scale * right.scale, right.low, right.high, bias)
    fixed = fixed_point([term], region.zero_point, region.low, region.high, constant=rest, where=region.where)
    left = retyped(rw, left, ir.DataType.UINT8, region.profile)
    inputs = [left.codes, right.codes, zero_point(rw, left), right.zero_point]
    acc = rw.op("MatMulInteger", inputs, like=region.result, dtype=ir.DataType.INT32)
    return requantize(rw, [acc], fixed, region)


def _weight(region: Region, rw: Rewriter, left: Operand, transposed: bool) -> _Right | None:
    operand = region.operand(1)
    if operand.array is None:
        return None
    weight = read_weight(operand, 0 if transposed else operand.array.ndim - 1)
    if transposed:
        weight = replace(weight, codes=weight.codes.T)
    axes = weight.codes.ndim
    low, high = weight.bounds(left, (max(axes - 2, 0),), keepdims=axes > 2)
    codes, zero = weight.constants(rw, ir.DataType.INT8)
    return _Right(codes, zero, weight.scale, low, high)


def _activation(region: Region, rw: Rewriter, left: Operand, transposed: bool) -> _Right:
    operand = region.activation(1)
    length = _length(left.codes.shape, -1) or _length(operand.codes.shape, -1 if transposed else -2)
    if length is None:
        raise Refused("the length of its sums is not known, so that int32 cannot be proven; fix the shapes")
    ends = [a * b * length for a in (left.low, left.high) for b in (operand.low, operand.high)]
    codes = _transposed(rw, operand.codes) if transposed else operand.codes
    scale, low, high = np.float64(operand.scale), np.int64(min(ends)), np.int64(max(ends))
    return _Right(codes, zero_point(rw, operand), np.asarray(scale), np.asarray(low), np.asarray(high))


def _length(shape: ir.Shape | None, axis: int) -> int | None:
    if shape is None or len(shape) < -axis:
        return int(shape[0]) if shape is not None and len(shape) == 1 and isinstance(shape[0], int) else None
    dim = shape[axis]
    return dim if isinstance(dim, int) else None


def _transposed(rw: Rewriter, value: ir.Value) -> ir.Value:
    shape = None if value.shape is None else ir.Shape(list(reversed(list(value.shape))))
    return rw.op("Transpose", [value], {"perm": [1, 0]}, dtype=value.dtype, shape=shape)
