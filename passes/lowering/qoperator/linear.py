"""Conv, MatMul and Gemm as QLinearConv, QLinearMatMul and QGemm.

    y = QLinearConv(x, s_x, z_x, w, s_w, z_w, s_y, z_y, b_q)      b_q at scale s_x·s_w
    y = QLinearMatMul(a, s_a, z_a, b, s_b, z_b, s_y, z_y)
    y = QGemm(a, s_a, z_a, b, s_b, z_b, c_q, s_y, z_y)            com.microsoft; c_q at scale α·s_a·s_b

QLinearMatMul takes no bias: a MatMul with one becomes QGemm between matrices, else a convolution.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import rank
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.qoperator.arguments import (
    MICROSOFT,
    activation,
    bias_value,
    centred,
    check_sums,
    node,
    real_scale,
    result,
    triple,
    weight_operand,
)
from onnxq.passes.lowering.qoperator.product_as_conv import product_as_conv

__all__ = ["lower_conv", "lower_gemm", "lower_matmul", "lower_qgemm", "lower_short_matmul"]


def lower_conv(region: Region, rw: Rewriter) -> ir.Value:
    """Conv of any rank, groups, dilations and padding."""
    x, weight = activation(region, 0), weight_operand(region, 0)
    codes = centred(weight)
    scale = x.scale * real_scale(weight)
    bias, b = bias_value(rw, region, scale, codes.shape[0], axis=1 - codes.ndim)
    check_sums(x, codes, b, 0)
    inputs = [*triple(rw, x), *triple(rw, weight), *result(rw, region), *([] if bias is None else [bias])]
    return node(rw, region, "QLinearConv", inputs, region.node.attributes)


def lower_matmul(region: Region, rw: Rewriter) -> ir.Value:
    """MatMul in standard operators: QLinearMatMul, or QLinearConv where a bias follows."""
    a, b = activation(region, 0), region.operand(1)
    if region.bias is not None:
        return product_as_conv(region, rw, a, weight_operand(region, 1))
    right = activation(region, 1) if b.array is None else weight_operand(region, _last_axis(b))
    return _qlinear_matmul(region, rw, a, right)


def lower_short_matmul(region: Region, rw: Rewriter) -> ir.Value:
    """MatMul: QGemm where a bias follows and the operands are matrices."""
    if region.bias is None or rank(region.result) != 2:
        return lower_matmul(region, rw)
    return _qgemm(region, rw, weight_operand(region, 1), 1, {})


def lower_gemm(region: Region, rw: Rewriter) -> ir.Value:
    """Gemm in standard operators, its weight constant: QLinearMatMul, or QLinearConv with a bias."""
    attributes = region.node.attributes
    if attributes.get_int("transA", 0) or attributes.get_float("alpha", 1.0) != 1.0:
        raise Refused("it transposes or scales its first input: only com.microsoft's QGemm does that")
    weight = weight_operand(region, 0 if attributes.get_int("transB", 0) else 1)
    a, plain = activation(region, 0), region.bias is None and not region.has(2)
    if plain and not attributes.get_int("transB", 0):
        return _qlinear_matmul(region, rw, a, weight)
    return product_as_conv(region, rw, a, weight)


def lower_qgemm(region: Region, rw: Rewriter) -> ir.Value:
    """Gemm as QGemm, with α and both transpositions; β moves into the bias."""
    axis = 0 if region.node.attributes.get_int("transB", 0) else 1
    b = region.operand(1)
    right = activation(region, 1) if b.array is None else weight_operand(region, axis)
    kept = {name: region.node.attributes.get(name) for name in ("alpha", "transA", "transB")}
    return _qgemm(region, rw, right, axis, kept)


def _qgemm(
    region: Region, rw: Rewriter, b: Operand, axis: int, attributes: Mapping[str, AttributeValue]
) -> ir.Value:
    a, bias = activation(region, 0), None
    if b.array is not None:
        codes = centred(b)
        scale = region.node.attributes.get_float("alpha", 1.0) * a.scale * real_scale(b)
        bias, added = bias_value(rw, region, scale, codes.shape[axis])
        check_sums(a, codes, added, axis)
    elif region.has(2) or region.bias is not None:
        raise Refused("it adds to a product of two activations: put a Q/DQ pair between")
    inputs = [*triple(rw, a), *triple(rw, b), bias, *result(rw, region)]
    return node(rw, region, "QGemm", inputs, attributes, domain=MICROSOFT)


def _qlinear_matmul(region: Region, rw: Rewriter, a: Operand, b: Operand) -> ir.Value:
    if b.array is not None:
        check_sums(a, centred(b), np.zeros((), np.int64), b.array.ndim - 1)
    inputs = [*triple(rw, a), *triple(rw, b), *result(rw, region)]
    return node(rw, region, "QLinearMatMul", inputs)


def _last_axis(operand: Operand) -> int:
    return 0 if operand.array is None else max(operand.array.ndim - 1, 0)
