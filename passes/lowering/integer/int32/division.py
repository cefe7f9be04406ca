"""Div of two activations in 32-bit words.

    t = ±(|a|·2^f) / |b|,  f ≤ 22             a = q_a − z_a, b = q_b − z_b
    y = clamp(z_y + R·2^-f·t),  R = s_a/(s_b·s_y)

Where b is 0, t is ±2^30, and f is such that this lies beyond all codes; 0/0 is 0. Numbers below 2^24 leave
16 bits to f, and t is ±2^23 there.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.int32.root import (
    arithmetic,
    chosen,
    require_8_bits,
    require_24_bits,
)
from onnxq.passes.lowering.integer.linear.product import centered
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["divide_small"]

INT32 = ir.DataType.INT32


@dataclass(frozen=True)
class _Width:
    """The power of two that stands for infinity, the longest f, and the largest R as a power of two."""

    infinity: int
    fraction: int
    ratio: int


LONG, SHORT = _Width(30, 22, 14), _Width(23, 16, 10)
"""R·2^-f is how far a truncated quotient can be off, in codes: 2^-8, or 2^-6."""


def divide_small(region: Region, rw: Rewriter, a: Operand, b: Operand) -> ir.Value:
    """Quotients of codes with at least 8 bits behind the point.

    Raises:
        Refused: the scales are too far apart, or numbers must be shorter.
    """
    require_24_bits(region, "quotients")
    require_8_bits(a, b)
    width = SHORT if region.profile.short else LONG
    ratio = a.scale / (b.scale * region.scale)
    fraction = min(width.fraction, width.infinity - 9 + math.floor(math.log2(ratio)))
    if fraction < 8 or ratio > 2.0**width.ratio:
        raise Refused(f"its scales differ by a factor of {ratio:g}; calibrate again")
    work = arithmetic(region, rw, "quotient")
    result, (dividend, divisor) = region.result, (centered(rw, a), centered(rw, b))
    zero = work.compare("Equal", divisor, work.number(0))
    sign = rw.op("Sign", [dividend], like=dividend, dtype=INT32)
    if b.low < 0:
        negative = work.compare("Less", divisor, work.number(0))
        sign = work.op("Mul", sign, chosen(work, negative, -1, 1), result)
        divisor = rw.op("Abs", [divisor], like=divisor, dtype=INT32)
    size = rw.op("Abs", [dividend], like=dividend, dtype=INT32) if a.low < 0 else dividend
    quotient = work.op("Div", work.op("Mul", size, 1 << fraction), work.op("Max", divisor, 1), result)
    quotient = rw.op("Where", [zero, work.number(1 << width.infinity), quotient], like=result, dtype=INT32)
    quotient = work.op("Mul", quotient, sign)
    bound = np.asarray(1 << width.infinity, np.int64)
    term = Term(np.asarray(ratio * 2.0**-fraction), -bound, bound)
    fixed = region.fixed_point([term])
    return requantize(rw, [quotient], fixed, region)
