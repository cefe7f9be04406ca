"""Rescaling by one division of int32: Mul, Add, Div, Max, Min, Cast, in place of six nodes of uint64.

    y = Cast(Min(Max((Σ A·q + B) / D, W + low), W + high))      the constants are those of quant.ratio
    y = Cast((A·Min(Max(q, least), most) + B) / D)              of long accumulators

ONNX Runtime divides int32 as fast as it shifts, and in place: a BitShift makes a new tensor. Its Clip of
int32 takes a fourth longer than Max and Min together.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.words import Words, cast
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import FixedPoint
from onnxq.quant.ratio import ratio

__all__ = ["requantize_ratio"]

INT32 = ir.DataType.INT32


def requantize_ratio(
    rw: Rewriter, values: Sequence[ir.Value], fixed: FixedPoint, region: Region
) -> ir.Value | None:
    """Prepare the nodes, or none where a division is not exact enough, or not the dialect's way."""
    fmt = region.output.format
    short = all(value.dtype is not None and value.dtype.itemsize <= 4 for value in values)
    if region.profile.dialect != Dialect.FAST or fmt.bits > 8 or not short:
        return None
    if any(value.dtype in (ir.DataType.UINT32, ir.DataType.BOOL) for value in values):
        return None
    found = ratio(fixed)
    if found is None:
        return None
    work = Words(rw, region.result, INT32, INT32)
    if found.least is not None and found.most is not None:
        values = [_clamped(work, values[0], found.least, found.most)]
    products = [work.product(v, m) for v, m in zip(values, found.multipliers, strict=True)]
    dividend = work.op("Add", work.sum(products), found.addend)
    quotient = work.op("Div", dividend, work.number(found.divisor, "divisor", INT32))
    if not found.clamped:
        ends = (np.int64(found.window + end) for end in (fixed.low, fixed.high))
        quotient = _clamped(work, quotient, *ends)
    return cast(rw, quotient, fmt.ir_dtype)


def _clamped(work: Words, value: ir.Value, least: IntArray | np.int64, most: IntArray | np.int64) -> ir.Value:
    return work.op("Min", work.op("Max", value, least), most)
