"""Rescaling in int32 alone: Max, Min, Sub, Div, Mul, Add, Div, Add, Clip, Cast, as few of them as serve.

    y = Cast(Clip((t·M + K) / 2^S + low, low, high)),   t = (Min(Max(q, least), most) − origin) / 2^r

Every dividend is positive, so truncation rounds down. The constants are small_fixed_point's. Ties to even
need the last bit of the quotient, ties away from zero its sign.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.words import Words, cast
from onnxq.quant.fixed_point import FixedPoint, Rounding
from onnxq.quant.small_fixed_point import SmallFixedPoint, small_fixed_point

__all__ = ["requantize_int32"]

INT32 = ir.DataType.INT32


def requantize_int32(rw: Rewriter, values: Sequence[ir.Value], fixed: FixedPoint, region: Region) -> ir.Value:
    """Prepare the nodes from one integer tensor a term; codes of ``region.result``.

    Raises:
        PassError: 32 bits are too few.
    """
    small = small_fixed_point(fixed, region.where)
    work = Words(rw, region.result, INT32, INT32)
    terms = [cast(rw, value, INT32) for value in values]
    if len(terms) == 1:
        terms = [_reduced(work, terms[0], small)]
    total = work.sum([work.product(v, m) for v, m in zip(terms, small.multipliers, strict=True)])
    scale = np.int64(1 << small.shift)
    rounding = region.profile.rounding if fixed.ties else Rounding.HALF_UP
    code = work.op("Div", _with_half(work, total, small, rounding), scale)
    if small.window:
        code = work.op("Add", code, np.int64(-small.window))
    return cast(rw, work.clip(code, fixed.low, fixed.high), region.output.format.ir_dtype)


def _reduced(work: Words, value: ir.Value, small: SmallFixedPoint) -> ir.Value:
    """The accumulator clamped, moved and divided."""
    if small.least is not None and small.most is not None:
        value = _clamped(work, value, small.least, small.most)
    if small.origin is not None:
        value = work.op("Sub", value, small.origin)
    return value if small.divisor is None else work.op("Div", value, small.divisor)


def _clamped(work: Words, value: ir.Value, least: IntArray, most: IntArray) -> ir.Value:
    if not least.ndim and not most.ndim:
        return work.clip(value, int(least), int(most))
    return work.op("Min", work.op("Max", value, least), most)


def _with_half(work: Words, total: ir.Value, small: SmallFixedPoint, rounding: Rounding) -> ir.Value:
    """What is to be divided by 2^S, so that rounding down rounds to nearest."""
    half = np.int64(1 << (small.shift - 1))
    if rounding == Rounding.HALF_UP:
        return work.op("Add", total, small.addend + half)
    v = work.op("Add", total, small.addend)
    if rounding == Rounding.HALF_AWAY:
        zero = work.number(np.int64(small.unsigned << small.shift), "zero", INT32)
        negative = work.rw.op("Less", [v, zero], like=work.result, dtype=ir.DataType.BOOL)
        return work.op("Add", work.op("Sub", v, negative), half)
    quotient = work.op("Div", v, np.int64(1 << small.shift))
    pairs = work.op("Mul", work.op("Div", quotient, np.int64(2)), np.int64(2))
    odd = work.op("Sub", quotient, pairs)
    if small.unsigned % 2:
        return work.op("Add", work.op("Sub", v, odd), half)
    return work.op("Add", work.op("Add", v, odd), half - 1)
