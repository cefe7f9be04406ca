"""A matrix product with a bias in standard operators: QLinearMatMul has none, QLinearConv has.

    x[…, K] · w[K, N] + b  =  Transpose(QLinearConv(Transpose(x), wᵀ[N, K, 1 …], b))

The channels move to axis 1 and the kernel has size one. It holds for any number of rows, known or not; ONNX
Runtime, which puts channels last for convolutions, cancels the transpositions.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import rank
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.qoperator.arguments import (
    bias_value,
    check_sums,
    real_scale,
    result,
)
from onnxq.quant.qdq import parameters
from onnxq.quant.qparams import QParams

__all__ = ["product_as_conv"]

_MOST_AXES = 5
"""ONNX Runtime's QLinearConv knows one to three spatial axes."""


def product_as_conv(region: Region, rw: Rewriter, x: Operand, weight: Operand) -> ir.Value:
    """A Gemm or MatMul by a constant matrix as QLinearConv; the result's codes.

    Raises:
        Refused: the number of axes is not known or too large, or the weight is no matrix.
    """
    axes = rank(x.codes)
    if axes is None or not 2 <= axes <= _MOST_AXES:
        raise Refused(f"the number of axes of '{x.codes.name}' is {axes or 'not known'}: run infer-shapes")
    kernel = _kernel(region, weight, max(axes - 2, 1))
    outputs = kernel.shape[0]
    bias, added = bias_value(rw, region, x.scale * real_scale(weight), outputs)
    check_sums(x, kernel.astype(np.int64) - weight.zero_point, added, 0)
    name, dtype = weight.codes.name or "weight", region.output.format.ir_dtype
    scales = QParams(weight.qparams.scale, weight.qparams.zero_point, weight.qparams.format)
    inputs = [
        _channels_first(rw, x.codes, axes),
        *parameters(rw, x.qparams, x.codes.name or "codes"),
        rw.const(kernel, f"{name}_kernel"),
        *parameters(rw, scales, name),
        *result(rw, region),
        *([] if bias is None else [bias]),
    ]
    return _channels_last(rw, rw.op("QLinearConv", inputs, dtype=dtype), axes, region.result)


def _kernel(region: Region, weight: Operand, spatial: int) -> np.ndarray:
    """The weight as [N, K, 1 …]."""
    codes = weight.array
    if codes is None or codes.ndim != 2:
        raise Refused("its weight is no constant matrix")
    rows = codes if region.node.attributes.get_int("transB", 0) else codes.T
    return rows.reshape(*rows.shape, *[1] * spatial).astype(weight.qparams.format.dtype)


def _channels_first(rw: Rewriter, codes: ir.Value, axes: int) -> ir.Value:
    """[M, K] → [1, K, M];  [B, …, K] → [B, K, …]."""
    dims = list(codes.shape) if codes.shape is not None else []
    if axes == 2:
        axis = rw.const(np.zeros(1, np.int64), "first_axis")
        shape = ir.Shape([1, *dims])
        codes = rw.op("Unsqueeze", [codes, axis], dtype=codes.dtype, shape=shape)
        dims, axes = [1, *dims], 3
    order = [0, axes - 1, *range(1, axes - 1)]
    shape = ir.Shape([dims[i] for i in order])
    return rw.op("Transpose", [codes], {"perm": order}, dtype=codes.dtype, shape=shape)


def _channels_last(rw: Rewriter, codes: ir.Value, axes: int, like: ir.Value) -> ir.Value:
    """[1, N, M] → [M, N];  [B, N, …] → [B, …, N]."""
    dtype = codes.dtype
    if axes > 2:
        return rw.op("Transpose", [codes], {"perm": [0, *range(2, axes), 1]}, like=like, dtype=dtype)
    axis = rw.const(np.zeros(1, np.int64), "first_axis")
    rows = rw.op("Transpose", [codes], {"perm": [0, 2, 1]}, dtype=dtype)
    return rw.op("Squeeze", [rows, axis], like=like, dtype=dtype)
