"""Div by a constant, which is a multiplication, and by a computed value: one int64 division does it all.

    y = clamp(z_y + R·a/b),  R = s_a/(s_b·s_y)          a = q_a − z_a, b = q_b − z_b

    y = (a·M + b·(W·2^S + 2^(S−1))) / (b·2^S) − W + z_y          M = round(R·2^S), b made positive

W keeps the dividend positive, so that Div truncates downwards. Division by zero would end the process: where
b is 0, b is taken as 1 and a as far away, so that the result is the last code on a's side, and 0/0 is 0.
"""

import math

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.words import Words, cast
from onnxq.passes.lowering.integer.int32.division import divide_small
from onnxq.passes.lowering.integer.linear.mean import wrongly_up
from onnxq.passes.lowering.integer.linear.product import centered, scaled
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Rounding

__all__ = ["lower_division"]

INT32, INT64 = ir.DataType.INT32, ir.DataType.INT64

BEYOND = 2
"""How many times all codes a division by zero gives, before the clamp."""

WORD = 61

LARGEST = 2**29
"""Quotients up to twice this fit int32; longer ones are clamped before."""


def lower_division(region: Region, rw: Rewriter) -> ir.Value:
    """Div with broadcasting.

    Raises:
        Refused: a constant divisor is zero somewhere, or the scales are too far apart.
    """
    divisor = region.constant(1)
    if divisor is None:
        return _divide(region, rw)
    if not divisor.all():
        raise Refused("its divisor is zero somewhere")
    return scaled(region, rw, region.activation(0), 1.0 / divisor)


def _divide(region: Region, rw: Rewriter) -> ir.Value:
    a, b = region.activation(0), region.activation(1)
    if region.profile.dialect == Dialect.INT32:
        return divide_small(region, rw, a, b)
    ratio = a.scale / (b.scale * region.scale)
    levels = region.output.format.levels
    far = math.ceil(BEYOND * levels / ratio)
    window = levels * math.ceil(ratio * max(far, a.high, -a.low) / levels + 2)
    divisors = max(b.high, -b.low).bit_length()
    shift = min(30 - math.ceil(math.log2(ratio)), WORD - divisors - (2 * window).bit_length())
    if not 8 <= shift <= 45 or far >= 2**31 or (window >= LARGEST and region.narrow):
        raise Refused(f"its scales differ by a factor of {ratio:g}; calibrate again")
    name = region.result.name or "quotient"
    narrow, work = Arithmetic(rw, name, INT32), Arithmetic(rw, name, INT64)
    dividend, divisor = _positive(narrow, a, b, far)
    multiplier = round(ratio * 2**shift)
    wide = work.op("Mul", cast(rw, dividend, INT64), multiplier)
    base = cast(rw, divisor, INT64)
    moved = work.op("Mul", base, (window << shift) + (1 << (shift - 1)))
    total = rw.op("Add", [wide, moved], like=region.result, dtype=INT64)
    unit = work.op("Mul", base, 1 << shift)
    quotient = rw.op("Div", [total, unit], like=region.result, dtype=INT64)
    if multiplier == ratio * 2**shift and region.profile.rounding != Rounding.HALF_UP:
        upward = wrongly_up(work, quotient, window, region.profile.rounding)
        exact = work.compare("Equal", work.op("Mul", quotient, unit), total)
        both = rw.op("And", [exact, upward], like=quotient, dtype=ir.DataType.BOOL)
        quotient = work.op("Sub", quotient, cast(rw, both, INT64))
    if window >= LARGEST:
        words = Words(rw, region.result, *region.profile.words(64))
        code = words.op("Add", quotient, np.int64(region.zero_point))
        clamped = words.clip(code, window + region.low, window + region.high)
        return cast(rw, clamped, region.output.format.ir_dtype)
    code = narrow.op("Add", cast(rw, quotient, INT32), region.zero_point - window)
    return cast(rw, narrow.clip(code, region.low, region.high), region.output.format.ir_dtype)


def _positive(narrow: Arithmetic, a: Operand, b: Operand, far: int) -> tuple[ir.Value, ir.Value]:
    """Dividend and divisor as int32, the divisor above zero."""
    rw, dividend, divisor = narrow.rw, centered(narrow.rw, a), centered(narrow.rw, b)
    if b.low < 0:
        negative = rw.op("Less", [divisor, narrow.number(0)], like=divisor, dtype=ir.DataType.BOOL)
        opposite = rw.op("Neg", [dividend], like=dividend, dtype=INT32)
        dividend = rw.op("Where", [negative, opposite, dividend], dtype=INT32)
        divisor = rw.op("Abs", [divisor], like=divisor, dtype=INT32)
    zero = rw.op("Equal", [divisor, narrow.number(0)], like=divisor, dtype=ir.DataType.BOOL)
    beyond = narrow.op("Mul", rw.op("Sign", [dividend], like=dividend, dtype=INT32), far)
    dividend = rw.op("Where", [zero, beyond, dividend], dtype=INT32)
    return dividend, rw.op("Max", [divisor, narrow.number(1)], like=divisor, dtype=INT32)
