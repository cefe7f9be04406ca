"""Real multipliers as integers: the arithmetic by which an integer graph changes scales.

    y = z + Σ_i real_i · (q_i + bias_i)               what the Q/DQ graph says, in real numbers
    y = clamp((Σ_i M_i·q_i + K) >> S, low, high)      what the integer graph computes

    M_i = round(real_i · 2^S)        K = Σ_i M_i·bias_i + round(constant · 2^S) + (z << S) + 2^(S−1)

The half makes the shift round to nearest, ties towards plus infinity. S is the largest for which nothing
overflows: Σ_i max|M_i·(q_i + bias_i)| + the rest stays below 2^(word−2); the intervals of the q_i prove it.
Each real_i becomes off by at most 2^-(S+1), so y by Σ_i max|q_i + bias_i| · 2^-(S+1) before rounding.

Ties. real_i = n/(d·2^k) in lowest terms, d odd. Only d = 1 gives ties that the integers see: M_i is then
exact, and one occurs where n·(q + bias) is an odd multiple of 2^(k−1). With d > 1 it takes a q + bias
that d divides, and d is nearly always as long as a float32 mantissa; where it is short (a mean of 36, of
equal scales), M_i is rounded, and so such a sum lies beside the tie already. A Q/DQ graph in float32 knows
it no better.

The form is that of gemmlowp and TFLite with single rounding (Jacob et al. 2018, arXiv:1712.05877, section
2.2); folding all constants into K, and the window that keeps the shifted number positive, are onnxq's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from onnxq.errors import PassError
from onnxq.graph.numeric import Array, FloatArray, IntArray

__all__ = ["FixedPoint", "Rounding", "Term", "fixed_point", "prove_int32", "shrink", "signed_bits"]

MULTIPLIER_BITS = 30
"""Multipliers stay below 2^30 so that they fit the int32 registers of accelerators."""

MAX_SHIFT = {64: 45, 32: 22}
"""Largest S by word: 2^(word−2−S) must be a multiple of 256, or the final cast to 8 bits changes codes."""

NARROW_ERROR = 2.0**-10
"""Up to this error in output codes, known before rounding, 32-bit words are good enough."""


class Rounding(StrEnum):
    """What happens half-way between two codes, before the zero point is added."""

    HALF_EVEN = "half-even"
    HALF_UP = "half-up"
    HALF_AWAY = "half-away"
    TFLITE = "tflite"


@dataclass(frozen=True, eq=False)
class Term:
    """``real · (q + bias)`` for an integer tensor q of the graph that lies in ``[low, high]``.

    real: float64, finite, output codes per unit of q. bias, low, high: int64. All broadcast to q's shape.
    """

    real: FloatArray
    low: IntArray
    high: IntArray
    bias: IntArray = field(default_factory=lambda: np.zeros((), np.int64))

    @property
    def reach(self) -> FloatArray:
        """The greatest ``|q + bias|``, float64."""
        ends = np.abs(self.low + self.bias), np.abs(self.high + self.bias)
        return np.asarray(np.maximum(*ends), np.float64)

    @property
    def peak(self) -> float:
        """The greatest ``|real · (q + bias)|``."""
        return float(np.max(np.abs(self.real) * self.reach))


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """M, K, S and the clamp of ``y = clamp((Σ M_i·q_i + K) >> S, low, high)``, in words of 32 or 64 bits.

    multipliers: int64, one array a term. offset: int64, K without zero point and half. low, high: codes.
    ties: whether some sum lies exactly half-way between two codes. terms, constant: what it computes.
    """

    multipliers: tuple[IntArray, ...]
    offset: IntArray
    zero_point: int
    shift: int
    low: int
    high: int
    word: int
    terms: tuple[Term, ...]
    constant: FloatArray
    ties: bool = False

    @property
    def half(self) -> int:
        """Half a code in the units of the sum."""
        return 1 << (self.shift - 1)

    @property
    def addend(self) -> IntArray:
        """K, which rounds half up."""
        return self.offset + np.int64((self.zero_point << self.shift) + self.half)

    @property
    def window(self) -> int:
        """What is added to y so that it is positive in an unsigned word; a multiple of 256."""
        return 1 << (self.word - 2 - self.shift)


def fixed_point(
    terms: Sequence[Term],
    zero_point: int,
    low: int,
    high: int,
    *,
    constant: FloatArray | None = None,
    narrow: bool = False,
    where: str = "",
) -> FixedPoint:
    """The integers that compute ``clamp(zero_point + constant + Σ real·(q + bias), low, high)``.

    ``constant`` is in output codes. ``narrow`` allows 32-bit words where they lose less than 2^-10 of a code.
    ``where`` names the node in messages.

    Raises:
        PassError: a multiplier is not finite, or no shift leaves room for the accumulator, or a multiplier
            rounds to 0 or 1 and something that shows in the codes, or all that there was, is lost by it.
    """
    fixed = np.zeros(()) if constant is None else np.asarray(constant, np.float64)
    if not all(np.isfinite(term.real).all() for term in terms) or not np.isfinite(fixed).all():
        raise PassError(f"{where}: a ratio of scales is infinite or not a number; check the scales")
    word, shift = 32, _shift(terms, zero_point, fixed, 32)
    if not narrow or _error(terms, shift) > NARROW_ERROR or _vanishes(terms, shift):
        word, shift = 64, _shift(terms, zero_point, fixed, 64)
    if shift < 1:
        raise PassError(
            f"{where}: rescaling its result needs {65 - shift} bits and 64 are there; its output scale is "
            "too small for its input scales: calibrate again, or leave this node float"
        )
    _require_something_left(terms, shift, where)
    multipliers = tuple(np.rint(term.real * 2.0**shift).astype(np.int64) for term in terms)
    offset = np.rint(fixed * 2.0**shift).astype(np.int64)
    for multiplier, term in zip(multipliers, terms, strict=True):
        offset = offset + multiplier * term.bias
    ties = any(_ties(term, shift) for term in terms)
    return FixedPoint(
        tuple(map(shrink, multipliers)),
        shrink(offset),
        zero_point,
        shift,
        low,
        high,
        word,
        tuple(terms),
        fixed,
        ties,
    )


def signed_bits(low: int, high: int) -> int:
    """Bits of the smallest two's-complement integer that holds ``[low, high]``."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def prove_int32(low: Array, high: Array, where: str, limit: int = 31) -> None:
    """Accept an accumulator that stays within int32, or below 2^limit.

    Raises:
        PassError: it does not; names the node and the bits needed.
    """
    bits = signed_bits(int(np.min(low)), int(np.max(high)))
    if bits > limit + 1:
        allowed = "int32 has 32" if limit == 31 else f"max_accumulator_bits={limit} leaves {limit + 1}"
        raise PassError(
            f"{where}: its accumulator can need {bits} bits and {allowed}; use fewer bits for its weights "
            "or its input, or split the reduction"
        )


def _shift(terms: Sequence[Term], zero_point: int, constant: FloatArray, word: int) -> int:
    """The largest S for which the sum stays below 2^(word−2) and every multiplier below 2^30."""
    # rounding M moves a term by half its reach; one code more covers the half that rounds the shift
    room = 2.0 ** (word - 2) * (1 - 2.0**-40)  # the peak is a float64 and may be a little off
    peak = sum(term.peak for term in terms) + float(np.max(np.abs(constant))) + abs(zero_point) + 1.0
    slack = sum(float(np.max(term.reach)) for term in terms) / 2 + 1.0
    if slack >= room / 2:
        return 0
    shift = min(math.floor(math.log2((room - slack) / peak)), MAX_SHIFT[word])
    greatest = max((float(np.max(np.abs(term.real))) for term in terms), default=0.0)
    if greatest > 0:
        shift = min(shift, MULTIPLIER_BITS - math.ceil(math.log2(greatest)))
    return shift


def _vanishes(terms: Sequence[Term], shift: int) -> bool:
    """Whether every multiplier rounds to 0 or 1, though some are not zero."""
    reals = [np.abs(term.real) for term in terms if term.reach.any()]
    greatest = max((float(np.max(real)) for real in reals), default=0.0)
    return 0 < greatest < 1.5 * 2.0**-shift


def _require_something_left(terms: Sequence[Term], shift: int, where: str) -> None:
    """Accept multipliers of which those that round to 0 or 1 change no code.

    Raises:
        PassError: half a code or more is lost, or nothing is left of any input; names both scales.
    """
    remedy = "calibrate again with samples that use its range, or leave this node float"
    if _vanishes(terms, shift):
        real = max(float(np.max(np.abs(term.real))) for term in terms)
        raise PassError(
            f"{where}: its multiplier {real:.3g} rounds to {round(real * 2.0**shift)}·2^-{shift}, so that "
            f"nothing is left of its inputs: the scale of its result is too large for theirs; {remedy}"
        )
    greatest = max((float(np.max(np.abs(term.real))) for term in terms), default=0.0)
    for term in terms:
        rounded = np.abs(np.rint(term.real * 2.0**shift))
        lost = np.where(rounded <= 1, np.abs(np.abs(term.real) - rounded * 2.0**-shift) * term.reach, 0.0)
        if (lost >= 0.5).any():
            at = np.unravel_index(int(np.argmax(lost)), lost.shape)
            real = float(np.broadcast_to(np.abs(term.real), lost.shape)[at])
            raise PassError(
                f"{where}: its multiplier {real:.3g} rounds to {round(real * 2.0**shift)}·2^-{shift}, which "
                f"loses {float(lost[at]):.3g} codes, for the greatest is {greatest:.3g}: its scales are too "
                f"far apart; use one scale for all channels, or equalize them, {remedy}"
            )


def _error(terms: Sequence[Term], shift: int) -> float:
    """The most by which rounded multipliers move the result, in codes."""
    return sum(float(np.max(term.reach)) for term in terms) * 2.0 ** -(shift + 1)


def _ties(term: Term, shift: int) -> bool:
    """Whether ``real·(q + bias)`` alone can be an odd multiple of one half.

    It can where real = n/2^k in lowest terms, and 2^(k−1) is in reach.
    """
    depth = np.arange(1, shift + 1).reshape(-1, *[1] * term.real.ndim)
    exact = np.rint(np.ldexp(term.real, depth)) == np.ldexp(term.real, depth)
    whole = np.rint(term.real) == term.real
    k = np.where(exact.any(axis=0) & ~whole, exact.argmax(axis=0) + 1, np.inf)
    return bool((2.0 ** (k - 1) <= term.reach).any())


def shrink(array: IntArray) -> IntArray:
    """One number where all are equal: runtimes multiply by a scalar faster."""
    flat = array.reshape(-1)
    return flat[0].reshape(()) if flat.size and np.all(flat == flat[0]) else array
