"""Changing scales in 32-bit signed words, or shorter ones, for runtimes without wider integers.

    y = clamp((Σ M_i·t_i + K) / 2^S + low, low, high)          Div of numbers that are never negative

Of one term, an accumulator q, all codes outside ``[low, high]`` look the same, so q is clamped to the
interval that matters, moved to begin at zero, and divided by 2^r where that costs less than a shorter
multiplier:

    t = (clamp(q, least, most) − least + 2^(r−1)) / 2^r         M = round(real · 2^(r+S))

For 8-bit codes S is 22 or 23. An error of half a unit of M grows to |t|/2^(S+1) codes, half a unit of t is
real·2^(r−1) codes; the r that makes their sum smallest leaves M 14 to 16 bits where q is long, and all bits
that real has where it is short. Where that can move a result by more than 2^-13 of a code, M has two halves:

    t·M/2^h = t·M_high + t·M_low/2^h        M = round(real · 2^(r+S+h)) = M_high·2^h + M_low

Then h bits more are multiplied, and t stays longer: M has 20 to 25 bits, and results are off by 2^-11 to
2^-14 of a code. Each channel has its own r, M and bounds. Numbers below 2^24, which runtimes that compute
integers as float32 get right, leave S 16 and M 10 to 13 bits, or 18 to 20 in two halves.
"""

import math
from dataclasses import dataclass

import numpy as np

from onnxq.errors import PassError
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.quant.fixed_point import FixedPoint, Term, shrink

__all__ = ["SmallFixedPoint", "interval_of_codes", "small_fixed_point"]

LARGEST_SHIFT, SMALLEST_SHIFT = 23, 10
LARGEST_DIVISION = 24
LARGEST_SPLIT = 15
SLIGHT = 2.0**-13
"""Up to this error in codes, before rounding, one product is good enough."""
MARGIN = 2.0**-3
"""So far from a tie a sum rounds to the code that it is nearest to, however short the multiplier."""


@dataclass(frozen=True, eq=False)
class SmallFixedPoint:
    """The constants of the formula. All arrays are int64 and broadcast to the result.

    least, most: bounds of the one term, None where no accumulator leaves them. origin: what it is moved by,
    and divisor: 2^r; None where neither is needed. addend: K without the half that rounds. window: what the
    quotient is too large by; the codes without zero point are too large by ``unsigned``. rest, split: M_low
    and h, where the multipliers are M_high only.
    """

    least: IntArray | None
    most: IntArray | None
    origin: IntArray | None
    divisor: IntArray | None
    multipliers: tuple[IntArray, ...]
    addend: IntArray
    shift: int
    window: int
    unsigned: int
    rest: IntArray | None = None
    split: int = 0


def small_fixed_point(fixed: FixedPoint, where: str = "", bits: int = 31) -> SmallFixedPoint:
    """What ``fixed`` computes with numbers below 2^bits, as precisely as they allow.

    Raises:
        PassError: fewer than 10 bits would be left behind the point; names the node.
    """
    plan = _one if len(fixed.terms) == 1 else _sum
    for shift in range(LARGEST_SHIFT, SMALLEST_SHIFT - 1, -1):
        if (made := plan(fixed, shift, 1 << bits)) is not None:
            return made
    raise PassError(
        f"{where}: rescaling its result leaves fewer than {SMALLEST_SHIFT} bits behind the point of "
        f"{bits}; its output scale is too small for its input scales: calibrate again, or lower with "
        "dialect=portable"
    )


def _one(fixed: FixedPoint, shift: int, word: int) -> SmallFixedPoint | None:
    """One term, of any length."""
    (term,) = fixed.terms
    least, most = interval_of_codes(term, fixed)
    base, window = _base(term, fixed, least, most)
    split, power = _division(term.real, most - least, shift, word)
    whole = np.rint(np.ldexp(term.real, power + shift + split)).astype(np.int64)
    # both halves have the sign of M, so that no sum of products is longer than the result
    sign, size = np.sign(whole), np.abs(whole)
    rest, multiplier = sign * (size & ((1 << split) - 1)), sign * (size >> split)
    half = np.where(power > 0, np.int64(1) << np.maximum(power - 1, 0), 0)
    rounding = 1 << (shift - 1)
    addend = np.rint(np.ldexp(base + window, shift)).astype(np.int64)
    longest = (most - least + half) >> power
    parts = multiplier * longest, rest * longest
    reach = parts[0] + sign * (np.abs(parts[1]) >> split) - (sign < 0)
    addend = np.maximum(addend, -rounding - np.minimum(reach, 0))
    sums = addend, addend + rounding, reach + addend, reach + addend + rounding
    if not _fits(word, most - least + half, *parts, reach, *sums):
        return None
    clamped = bool((least > term.low).any() or (most < term.high).any())
    direct = addend - multiplier * least
    moved = bool(power.any()) or bool(rest.any())
    if not moved:
        moved = not _fits(word, direct, direct + rounding, multiplier * least, multiplier * most)
    return SmallFixedPoint(
        least=shrink(least) if clamped else None,
        most=shrink(most) if clamped else None,
        origin=shrink(least - half) if moved else None,
        divisor=shrink(np.int64(1) << power) if power.any() else None,
        multipliers=(shrink(multiplier),),
        addend=shrink(addend if moved else direct),
        shift=shift,
        window=window,
        unsigned=fixed.zero_point + window,
        rest=shrink(rest) if rest.any() else None,
        split=split,
    )


def _base(term: Term, fixed: FixedPoint, least: IntArray, most: IntArray) -> tuple[FloatArray, int]:
    """What ``least`` gives, in output codes, and what must be added so that no result is negative."""
    base = term.real * (least + term.bias) + fixed.constant + fixed.zero_point
    base = np.where(most == least, np.clip(base, fixed.low, fixed.high), base)
    lowest = float(np.min(np.minimum(base, base + term.real * (most - least))))
    return base, max(-fixed.low, math.ceil(-0.5 - lowest))


def interval_of_codes(term: Term, fixed: FixedPoint) -> tuple[IntArray, IntArray]:
    """The q of the least and of the greatest code, and all between; int64, at least one number long."""
    ends = (fixed.low + 0.5 - MARGIN, fixed.high - 0.5 + MARGIN)
    reals = [end - fixed.zero_point - fixed.constant for end in ends]
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (real / term.real - term.bias for real in reals)
    low, high = np.broadcast_arrays(np.fmin(first, second), np.fmax(first, second))
    constant = term.real == 0
    least = np.where(constant, term.low, np.clip(np.floor(low), term.low, term.high)).astype(np.int64)
    most = np.where(constant, term.low, np.clip(np.ceil(high), term.low, term.high)).astype(np.int64)
    return least, np.maximum(least, most)


def _division(real: FloatArray, length: IntArray, shift: int, word: int) -> tuple[int, IntArray]:
    """h, and the r of each channel, that cost the fewest codes."""
    error, power = _cost(real, length, shift, 0, word)
    split = 0
    if error <= SLIGHT:
        return split, power
    for h in range(1, LARGEST_SPLIT + 1):
        other, found = _cost(real, length, shift, h, word)
        if other < error / 2:
            error, split, power = other, h, found
    return split, power


def _cost(real: FloatArray, length: IntArray, shift: int, split: int, word: int) -> tuple[float, IntArray]:
    """The best r of each channel for one h, and the codes by which the worst channel is off then."""
    powers = np.arange(LARGEST_DIVISION + 1).reshape(-1, *[1] * np.broadcast(real, length).ndim)
    exact = np.ldexp(real, powers + shift + split)
    rounded = np.rint(exact)
    slip = np.abs(rounded - exact) * np.ldexp(length, -powers - shift - split)
    blur = np.where(powers > 0, np.ldexp(np.abs(real), powers - 1), 0.0)
    rest = np.mod(np.abs(rounded), 2.0**split)
    cut = np.where(rest > 0, 2.0**-shift, 0.0)
    room = rest * (np.ldexp(length, -powers) + 1) < word
    total = np.where(room, slip + blur + cut, np.inf)
    best: IntArray = total.argmin(axis=0).astype(np.int64)
    return float(np.max(total.min(axis=0))), best


def _sum(fixed: FixedPoint, shift: int, word: int) -> SmallFixedPoint | None:
    """Several terms, all of them short."""
    multipliers = [np.rint(np.ldexp(term.real, shift)).astype(np.int64) for term in fixed.terms]
    biases = [m * term.bias for m, term in zip(multipliers, fixed.terms, strict=True)]
    offset = np.rint(np.ldexp(fixed.constant + fixed.zero_point, shift)).astype(np.int64) + sum(biases)
    low, high = np.int64(0), np.int64(0)
    partial = []
    for m, term in zip(multipliers, fixed.terms, strict=True):
        ends = m * term.low, m * term.high
        low, high = low + np.minimum(*ends), high + np.maximum(*ends)
        partial += [*ends, low, high]
    window = max(-(int(np.min(low + offset)) >> shift), 0)
    addend = offset + np.int64(window << shift)
    if not _fits(word, *partial, addend + (1 << shift), high + addend + (1 << shift)):
        return None
    return SmallFixedPoint(
        least=None,
        most=None,
        origin=None,
        divisor=None,
        multipliers=tuple(map(shrink, multipliers)),
        addend=shrink(addend),
        shift=shift,
        window=window,
        unsigned=fixed.zero_point + window,
    )


def _fits(word: int, *arrays: IntArray | np.int64) -> bool:
    return all(int(np.min(array)) >= -word and int(np.max(array)) < word for array in arrays)
