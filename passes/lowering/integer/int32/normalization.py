"""LayerNormalization, InstanceNormalization and RMSNormalization in 32-bit words.

With m = ⌊Σq/n⌋ and u = Σq mod n, nothing of a row is lost:

    c = q − m,   d = c − u/n                         the distance from the mean; RMS: c = q − z, u = 0
    V = Σc² − u²/n + ε·n/s_x²                        n times the variance, in whole codes and 30 bits behind
    v = V·4^k in [2^27, 2^30),  D = d·2^(k+4)        so that |D| ≤ 2^19: none is longer than all together
    t = D·(2^36/√v) / 2^11 = 2^29·d/√V               with the reciprocal root in two halves of 11 bits
    y = clamp(z_y + γ·√n/s_y·2^-29·t + β/s_y)

The normalized value is off by √n·2^-18 standard deviations.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.requantize import cast, requantize
from onnxq.passes.lowering.integer.int32.root import (
    BITS,
    arithmetic,
    interpolated,
    require_8_bits,
    stretched,
)
from onnxq.passes.lowering.integer.linear.product import centered as from_zero
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["from_mean", "normalize_small", "require_short", "times_root"]

INT32 = ir.DataType.INT32

GUARD = 4
HALF = 11
ROOT = 36
FRACTION = 29
ABOVE = 256
"""Makes sums of codes positive; an Add also keeps ReduceSum and Div apart, which OpenVINO makes a mean of."""


def normalize_small(
    region: Region,
    rw: Rewriter,
    x: Operand,
    axes: Sequence[int],
    count: int,
    gamma: FloatArray,
    beta: FloatArray,
    *,
    centered: bool,
    epsilon: float,
) -> ir.Value:
    """``γ·(x − mean)/√(var + ε) + β`` over ``count`` elements along ``axes``; RMS without the mean.

    Raises:
        Refused: sums of squares, or epsilon, need more than 30 bits.
    """
    require_8_bits(x)
    offset = epsilon * count / x.scale**2
    require_short(count, offset)
    work = arithmetic(region, rw, "norm")
    distance, rest = from_mean(work, x, axes, count) if centered else (from_zero(rw, x), None)
    variance = work.total(work.op("Mul", distance, distance), axes)
    whole, behind = _variance(work, variance, rest, count, offset)
    scaled = stretched(work, whole)
    unit = work.op("Mul", scaled.power, scaled.power)
    step = rw.op("Div", [work.number(1 << BITS), unit], like=unit)
    fraction = rw.op("Div", [behind, step], like=unit, dtype=INT32)
    root = interpolated(work, work.op("Add", scaled.mantissa, fraction), lambda v: 2.0**ROOT / np.sqrt(v))
    stretch = work.op("Mul", scaled.power, 1 << GUARD)
    distance = work.op("Mul", distance, stretch)
    if rest is not None:
        distance = work.op("Sub", distance, _mean_rest(work, rest, stretch, count))
    distance = work.clip(distance, -(1 << 15 + GUARD), 1 << 15 + GUARD)
    return times_root(region, work, distance, root, HALF, FRACTION, gamma * math.sqrt(count), beta)


def times_root(
    region: Region,
    work: Arithmetic,
    distance: ir.Value,
    root: ir.Value,
    half: int,
    fraction: int,
    gamma: FloatArray,
    beta: FloatArray,
) -> ir.Value:
    """``γ·t/2^fraction + β`` in the result's codes, with ``t = distance·root/2^half`` of 2^fraction at most.

    The root is multiplied in two halves, of which the lower has ``half`` bits.
    """
    high, low = work.divided(root, 1 << half)
    upper, lower = work.op("Mul", distance, high), work.op("Mul", distance, low)
    limit = (1 << fraction) + (1 << 12)
    value = work.clip(work.op("Add", upper, work.op("Div", lower, 1 << half)), -limit, limit)
    bound = np.asarray(limit, np.int64)
    term = Term(gamma / (region.scale * 2.0**fraction), -bound, bound)
    fixed = region.fixed_point([term], constant=beta / region.scale)
    return requantize(work.rw, [value], fixed, region)


def require_short(count: int, offset: float = 0.0) -> None:
    """Accept so many squares of 8-bit numbers, and what is added to them.

    Raises:
        Refused: their sum needs more than 30 bits.
    """
    if count * 255**2 + offset >= (1 << BITS) - 1:
        raise Refused(
            f"its sums of {count} squares need more than {BITS} bits, which dialect=int32 has: too many "
            "elements, or too large an epsilon; use dialect=portable"
        )


def from_mean(work: Arithmetic, x: Operand, axes: Sequence[int], count: int) -> tuple[ir.Value, ir.Value]:
    """``q − ⌊Σq/n⌋`` and ``Σq mod n``."""
    wide = cast(work.rw, x.codes, INT32)
    total = work.op("Add", work.total(wide, axes), ABOVE * count)
    whole, rest = work.divided(total, count)
    return work.op("Sub", wide, work.op("Sub", whole, ABOVE)), rest


def _variance(
    work: Arithmetic, squares: ir.Value, rest: ir.Value | None, count: int, offset: float
) -> tuple[ir.Value, ir.Value]:
    """The whole part of V, and what is behind it, below one in size, times 2^30."""
    added = math.floor(offset)
    least = min(round((offset - added) * 2**BITS), 2**BITS - 1)
    if rest is None:
        return work.op("Add", squares, added), work.number(least)
    square = work.op("Mul", rest, rest)
    whole = work.op("Sub", squares, work.op("Div", square, count))
    behind = _fraction(work, work.op("Mod", square, count), count)
    back = work.rw.op("Sub", [work.number(least), behind], like=behind, dtype=INT32)
    return work.op("Add", work.clip(whole, 0, count * 255**2), added), back


def _fraction(work: Arithmetic, rest: ir.Value, count: int) -> ir.Value:
    """``rest·2^30/count`` of numbers below ``count``, in two steps of 15 bits."""
    step = 1 << BITS // 2
    first = work.op("Mul", rest, step)
    second = work.op("Mul", work.op("Mod", first, count), step)
    high = work.op("Mul", work.op("Div", first, count), step)
    return work.op("Add", high, work.op("Div", second, count))


def _mean_rest(work: Arithmetic, rest: ir.Value, stretch: ir.Value, count: int) -> ir.Value:
    """``rest/count·stretch``, rounded."""
    unit = work.rw.op("Div", [work.number(1 << BITS), stretch], like=stretch)
    rounded = work.op("Add", _fraction(work, rest, count), work.op("Div", unit, 2))
    return work.op("Div", rounded, unit)
