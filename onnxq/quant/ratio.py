"""Real multipliers as ratios of 32-bit integers: one division in place of a 64-bit product and a shift.

    y = clamp((Σ A_i·q_i + B) / D − W, low, high)          A_i/D = real_i as nearly as 31 bits allow

B holds biases, zero point, the half ⌊D/2⌋ that makes Div round to nearest, and W·D, which keeps the dividend
from being negative; W is a multiple of 256, so that a cast to 8 bits drops it. For one term and channel, the
best A/D is a convergent of real's continued fraction (or one between two), off by about 1/D²; several terms
share one D, the best of the largest 2^12.

Long accumulators leave D short; then q is clamped first, to where codes change, and y need not be.

A ratio is worth it where it is as good as a float32 product: off by less than 2^-15 of a code. Ties are left
to shifts: D is odd more often than not, and has no half.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.quant.fixed_point import FixedPoint, Term, shrink
from onnxq.quant.small_fixed_point import interval_of_codes

__all__ = ["Ratio", "ratio"]

LARGEST = 2**31 - 1
GOOD = 2.0**-15
SMALLEST_DIVISOR = 2**12
CANDIDATES = 2**12
CODES = 256


@dataclass(frozen=True, eq=False)
class Ratio:
    """A, B, D and W. All arrays are int64 and broadcast to the result; every number on the way fits int32.

    least, most: what the one term is clamped to before, where that makes room. clamped: whether the quotient
    is in ``[low, high]`` by that.
    """

    multipliers: tuple[IntArray, ...]
    addend: IntArray
    divisor: IntArray
    window: int
    least: IntArray | None = None
    most: IntArray | None = None
    clamped: bool = False


def ratio(fixed: FixedPoint) -> Ratio | None:
    """What ``fixed`` computes as a division; None where that is less exact than a float32 product."""
    if fixed.ties:
        return None
    if (found := _exact(fixed)) is not None or len(fixed.terms) > 1:
        return found
    (term,) = fixed.terms
    least, most = interval_of_codes(term, fixed)
    found = _exact(replace(fixed, terms=(Term(term.real, least, most, term.bias),)))
    if found is None:
        return None
    (factor,) = found.multipliers
    codes = [(factor * end + found.addend) // found.divisor - found.window for end in (least, most)]
    clamped = all(fixed.low <= int(end) <= fixed.high for end in _ends(codes))
    return replace(found, least=shrink(least), most=shrink(most), clamped=clamped)


def _exact(fixed: FixedPoint) -> Ratio | None:
    least, most = _extremes(fixed)
    window = 256 * -(min(int(np.floor(np.min(least))) - 2, 0) // 256)
    largest = int(LARGEST / (window + max(float(np.max(most)), 0.0) + 3))
    if largest < SMALLEST_DIVISOR:
        return None
    if len(fixed.terms) == 1:
        fixed = _without_constants(fixed, least, most)
    found = _single(fixed.terms[0], largest) if len(fixed.terms) == 1 else _common(fixed.terms, largest)
    if found is None:
        return None
    multipliers, divisor = found
    whole = np.asarray(fixed.constant + fixed.zero_point + window, np.float64)
    addend: IntArray = divisor // 2
    error = np.where(fixed.constant == np.rint(fixed.constant), 0.0, 0.5 / divisor)
    for m, term in zip(multipliers, fixed.terms, strict=True):
        exact, rounded = _slips(term, m, divisor, fixed if len(fixed.terms) == 1 else None)
        addend = addend + np.where(exact <= rounded, m * term.bias, 0)
        whole = whole + np.where(exact <= rounded, 0.0, term.real * term.bias)
        error = error + np.minimum(exact, rounded)
    addend = addend + np.rint(whole * divisor).astype(np.int64)
    if float(np.max(error)) > GOOD or not _fits(multipliers, fixed.terms, addend):
        return None
    return Ratio(tuple(map(shrink, multipliers)), shrink(addend), shrink(divisor), window)


def _without_constants(fixed: FixedPoint, least: FloatArray, most: FloatArray) -> FixedPoint:
    """Channels that have one code only, behind the clamp, as that code, whatever q is."""
    (term,) = fixed.terms
    code, last = (np.clip(np.floor(end + 0.5), fixed.low, fixed.high) for end in (least, most))
    flat = code == last
    if not flat.any():
        return fixed
    real, bias = np.where(flat, 0.0, term.real), np.where(flat, 0, term.bias)
    constant = np.where(flat, code - fixed.zero_point, fixed.constant)
    return replace(fixed, terms=(Term(real, term.low, term.high, bias),), constant=constant)


def _slips(
    term: Term, multiplier: IntArray, divisor: IntArray, alone: FixedPoint | None
) -> tuple[FloatArray, FloatArray]:
    """By how many codes a result may be off inside the clamp: with the bias times A, or times real."""
    slip = np.abs(multiplier / divisor - term.real)
    exact = slip * term.reach
    if alone is not None:  # several terms may be far from zero together, and their sum in between
        inside = CODES + abs(alone.zero_point) + np.abs(alone.constant)
        exact = exact * np.minimum(1.0, inside / np.maximum(np.abs(term.real) * term.reach, 1.0))
    return exact, slip * np.maximum(np.abs(term.low), np.abs(term.high)) + 0.5 / divisor


def _extremes(fixed: FixedPoint) -> tuple[FloatArray, FloatArray]:
    """The least and the greatest result before the clamp, in codes."""
    least = most = np.asarray(fixed.constant + fixed.zero_point, np.float64)
    for term in fixed.terms:
        ends = term.real * (term.low + term.bias), term.real * (term.high + term.bias)
        least, most = least + np.minimum(*ends), most + np.maximum(*ends)
    return least, most


def _single(term: Term, largest: int) -> tuple[tuple[IntArray], IntArray] | None:
    """The best fraction of each channel with a divisor up to ``largest``."""
    size = np.abs(term.real)
    longest = size * np.maximum(np.abs(term.bias), np.maximum(np.abs(term.low), np.abs(term.high)))
    limits = (LARGEST / (longest + LARGEST / largest)).astype(np.int64)
    limits = np.minimum(limits, (LARGEST / np.maximum(size, 1.0)).astype(np.int64))
    size, limits = np.broadcast_arrays(size, limits)
    if int(np.min(limits)) < SMALLEST_DIVISOR:
        return None
    pairs = zip(
        size.reshape(-1).tolist(), np.broadcast_to(limits, size.shape).reshape(-1).tolist(), strict=True
    )
    parts = [(Fraction(real).limit_denominator(limit), limit) for real, limit in pairs]
    # a short divisor has a coarse half; the same fraction with larger numbers has not
    scaled = [(f.numerator * k, f.denominator * k) for f, limit in parts for k in [limit // f.denominator]]
    numerators, divisors = np.asarray(scaled, np.int64).T.reshape(2, *size.shape)
    return (numerators * np.sign(term.real).astype(np.int64),), divisors


def _common(terms: tuple[Term, ...], largest: int) -> tuple[tuple[IntArray, ...], IntArray] | None:
    """One divisor for all terms, the best of the largest."""
    if any(term.real.size > 1 for term in terms):
        return None
    divisors = np.arange(max(largest - CANDIDATES, 1), largest + 1)
    error = sum(
        np.abs(np.rint(term.real * divisors) / divisors - term.real) * float(np.max(term.reach))
        for term in terms
    )
    divisor = divisors[np.argmin(error)].reshape(()).astype(np.int64)
    return tuple(np.rint(term.real * divisor).astype(np.int64) for term in terms), np.asarray(divisor)


def _fits(multipliers: tuple[IntArray, ...], terms: tuple[Term, ...], addend: IntArray) -> bool:
    """Whether products, partial sums and the dividend are int32, and the dividend is not negative."""
    low: IntArray = np.zeros((), np.int64)
    high: IntArray = np.zeros((), np.int64)
    steps: list[IntArray] = []
    for m, term in zip(multipliers, terms, strict=True):
        ends = m * term.low, m * term.high
        low, high = low + np.minimum(*ends), high + np.maximum(*ends)
        steps += [*ends, low, high]
    if int(np.min(low + addend)) < 0:
        return False
    return all(abs(int(end)) <= LARGEST for end in _ends([*steps, addend, high + addend]))


def _ends(arrays: Sequence[IntArray]) -> Iterator[int]:
    for array in arrays:
        yield int(np.min(array))
        yield int(np.max(array))
