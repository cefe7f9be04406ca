"""Mul.

    y = clamp(z_y + s_a·s_b/s_y · (a − z_a)·(b − z_b))
    y = clamp(z_y + s_a·c/s_y · (a − z_a))                      by a constant

The product of two codes of 8 bits fits 18 bits, of 16 bits 34; a constant tensor becomes a tensor of
multipliers.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.emit.words import Words, cast
from onnxq.passes.lowering.integer.linear.addition import code_term
from onnxq.passes.lowering.integer.operand import Operand
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["centered", "lower_product", "scaled"]


def lower_product(region: Region, rw: Rewriter) -> ir.Value:
    """Mul with broadcasting, of two activations or of one and a constant."""
    for index in (0, 1):
        if (number := region.constant(1 - index)) is not None:
            return scaled(region, rw, region.activation(index), number)
    a, b = region.activation(0), region.activation(1)
    ends = [left * right for left in (a.low, a.high) for right in (b.low, b.high)]
    real = np.asarray(a.scale * b.scale / region.scale)
    term = Term(real, np.asarray(min(ends), np.int64), np.asarray(max(ends), np.int64))
    fixed = region.fixed_point([term])
    short = max(map(abs, ends)) < 2**31
    types = (ir.DataType.INT32, ir.DataType.UINT32) if short else region.profile.words(64)
    product = Words(rw, region.result, *types).op("Mul", centered(rw, a), centered(rw, b))
    return requantize(rw, [product], fixed, region)


def centered(rw: Rewriter, operand: Operand) -> ir.Value:
    """``q − z`` as int32."""
    wide = cast(rw, operand.codes, ir.DataType.INT32)
    if operand.zero_point == 0:
        return wide
    zero = rw.const(np.asarray(operand.zero_point, np.int32), f"{operand.codes.name or 'codes'}_zero_point")
    return rw.op("Sub", [wide, zero], like=operand.codes, dtype=ir.DataType.INT32)


def scaled(region: Region, rw: Rewriter, operand: Operand, factor: FloatArray) -> ir.Value:
    """``factor`` times the operand: a number, or a constant that broadcasts to the result."""
    term = code_term(operand, operand.scale * factor / region.scale)
    fixed = region.fixed_point([term], narrow=region.narrow)
    return requantize(rw, [operand.codes], fixed, region)
