"""Rescaling in int32 alone: Max, Min, Sub, Div, Mul, Add, Div, Add, Clip, Cast, as few of them as serve.

    y = Cast(Clip((t·M + K) / 2^S + low, low, high)),   t = (Min(Max(q, least), most) − origin) / 2^r

Where M has two halves, t·M is t·M_high + t·M_low/2^h: a Mul, a Div and an Add more. Every dividend is
positive, so truncation rounds down. The constants are small_fixed_point's. Ties to even
need the last bit of the quotient, ties away from zero its sign. Where all numbers are below 2^24, what Div
would cut off is taken away before, v/2^S = (v − v mod 2^S)/2^S: OpenVINO computes chains in float32.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.words import Words, cast
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import FixedPoint, Rounding
from onnxq.quant.small_fixed_point import SmallFixedPoint, small_fixed_point

__all__ = ["requantize_int32"]

INT32 = ir.DataType.INT32

FLOAT32 = 24
"""Up to so many bits float32 holds every integer."""

Divide: TypeAlias = Callable[[Words, ir.Value, IntArray | np.int64], ir.Value]


def requantize_int32(rw: Rewriter, values: Sequence[ir.Value], fixed: FixedPoint, region: Region) -> ir.Value:
    """Prepare the nodes from one integer tensor a term; codes of ``region.result``.

    Raises:
        PassError: 32 bits are too few.
    """
    small = small_fixed_point(fixed, region.where, region.profile.accumulator_bits)
    work = Words(rw, region.result, INT32, INT32)
    terms = [cast(rw, value, INT32) for value in values]
    divide = _exactly if region.profile.accumulator_bits <= FLOAT32 else _downwards
    if len(terms) == 1:
        terms = [_reduced(work, terms[0], small, divide)]
    products = [work.product(v, m) for v, m in zip(terms, small.multipliers, strict=True)]
    if small.rest is not None:
        products.append(divide(work, work.product(terms[0], small.rest), np.int64(1 << small.split)))
    total = work.sum(products)
    scale = np.int64(1 << small.shift)
    rounding = region.profile.rounding if fixed.ties else Rounding.HALF_UP
    code = divide(work, _with_half(work, total, small, rounding, divide), scale)
    if small.window:
        code = work.op("Add", code, np.int64(-small.window))
    return cast(rw, work.clip(code, fixed.low, fixed.high), region.output.format.ir_dtype)


def _downwards(work: Words, value: ir.Value, divisor: IntArray | np.int64) -> ir.Value:
    return work.op("Div", value, divisor)


def _exactly(work: Words, value: ir.Value, divisor: IntArray | np.int64) -> ir.Value:
    """The same without a rest to be cut off."""
    return work.op("Div", work.op("Sub", value, work.op("Mod", value, divisor)), divisor)


def _reduced(work: Words, value: ir.Value, small: SmallFixedPoint, divide: Divide) -> ir.Value:
    """The accumulator clamped, moved and divided."""
    if small.least is not None and small.most is not None:
        value = _clamped(work, value, small.least, small.most)
    if small.origin is not None:
        value = work.op("Sub", value, small.origin)
    return value if small.divisor is None else divide(work, value, small.divisor)


def _clamped(work: Words, value: ir.Value, least: IntArray, most: IntArray) -> ir.Value:
    """Prepare a Clip, or a Max and a Min where each channel has its own bounds."""
    if not least.ndim and not most.ndim:
        return work.clip(value, int(least), int(most))
    return work.op("Min", work.op("Max", value, least), most)


def _with_half(
    work: Words, total: ir.Value, small: SmallFixedPoint, rounding: Rounding, divide: Divide
) -> ir.Value:
    """What is to be divided by 2^S, so that rounding down rounds to nearest."""
    half = np.int64(1 << (small.shift - 1))
    if rounding == Rounding.HALF_UP:
        return work.op("Add", total, small.addend + half)
    v = work.op("Add", total, small.addend)
    if rounding == Rounding.HALF_AWAY:
        zero = work.number(np.int64(small.unsigned << small.shift), "zero", INT32)
        negative = work.rw.op("Less", [v, zero], like=work.result, dtype=ir.DataType.BOOL)
        return work.op("Add", work.op("Sub", v, negative), half)
    quotient = divide(work, v, np.int64(1 << small.shift))
    pairs = work.op("Mul", divide(work, quotient, np.int64(2)), np.int64(2))
    odd = work.op("Sub", quotient, pairs)
    if small.unsigned % 2:
        return work.op("Add", work.op("Sub", v, odd), half)
    return work.op("Add", work.op("Add", v, odd), half - 1)
