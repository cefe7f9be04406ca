"""Sums of squares in numbers below 2^24, which are two words, and their roots.

    V/256 = H + L/2^24         H = Σ⌊c²/256⌋ + …,  L: 8 bits of V and 16 behind the point
    v = (V/256)·4^k            by stages: where H < 2^(24−b), both words move up by b = 16, 8, 4, 2 bits

v is in [2^22, 2^24) where V is 2^-2 at least; V of whole numbers that differ is above 2^-1.
"""

import math
from collections.abc import Sequence

import onnx_ir as ir

from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.int32.root import SHORT, Scaled, chosen
from onnxq.passes.lowering.integer.operand import Refused

__all__ = ["LONGEST", "fraction", "squares", "stretched_words"]

BITS = SHORT.bits
BYTE = 8
BEHIND = BITS - BYTE
LONGEST = 1 << 12
"""So many elements have squares of Σc mod n, and n-ths with 12 bits behind the point, below 2^24."""


def squares(
    work: Arithmetic,
    distance: ir.Value,
    rest: ir.Value | None,
    axes: Sequence[int],
    count: int,
    offset: float = 0.0,
) -> tuple[ir.Value, ir.Value]:
    """The words of ``Σdistance² − rest²/count + offset``, which is not negative.

    Raises:
        Refused: there are more elements than 24 bits are enough for, or the offset is too large.
    """
    if count > LONGEST or offset >= 2.0 ** (BITS + BYTE - 1):
        raise Refused(
            f"its sums of {count} squares need more than two words of {BITS} bits: more elements than "
            f"{LONGEST}, or too large an epsilon; use max_accumulator_bits=31, or dialect=portable"
        )
    upper, lower = work.divided(work.op("Mul", distance, distance), 1 << BYTE)
    high, low = (work.total(part, axes) for part in (upper, lower))
    whole = math.floor(offset)
    behind = min(round((offset - whole) * 2**BEHIND), 2**BEHIND - 1)
    more, added = divmod(whole, 1 << BYTE)
    if rest is None:
        carry, low = work.divided(work.op("Add", low, added), 1 << BYTE)
        last: ir.Value | int = behind
    else:
        # one is borrowed for the part behind the point, and so many bytes that nothing is negative
        borrowed = count // 2**BYTE + 2
        less, part = work.divided(work.op("Mul", rest, rest), count)
        taken = fraction(work, part, count)
        left = work.rw.op("Sub", [work.number(behind + 2**BEHIND), taken], like=taken, dtype=work.dtype)
        one, last = work.divided(left, 1 << BEHIND)
        low = work.op("Sub", work.op("Add", low, added + borrowed * 2**BYTE - 1), less)
        carry, low = work.divided(work.op("Add", low, one), 1 << BYTE)
        more -= borrowed
    high = work.op("Add", work.op("Add", high, carry), more)
    return work.clip(high, 0, 2**BITS - 1), work.op("Add", work.op("Mul", low, 1 << BEHIND), last)


def fraction(work: Arithmetic, rest: ir.Value, count: int) -> ir.Value:
    """``rest·2^16/count``, rounded down, of numbers below ``count``: 12 bits, and 4 more."""
    first, left = work.divided(work.op("Mul", rest, 1 << 12), count)
    more = work.op("Div", work.op("Mul", left, 1 << 4), count)
    return work.op("Add", work.op("Mul", first, 1 << 4), more)


def stretched_words(work: Arithmetic, high: ir.Value, low: ir.Value) -> Scaled:
    """The upper word after multiplication with the largest power of four that keeps it below 2^24."""
    power: ir.Value | None = None
    for bits in (16, 8, 4, 2):
        limit = 1 << (BITS - bits)
        small = work.compare("Less", high, work.number(limit))
        carry, left = work.divided(low, limit)
        moved = work.op("Add", work.op("Mul", work.op("Min", high, limit - 1), 1 << bits), carry)
        high = chosen(work, small, moved, high)
        low = chosen(work, small, work.op("Mul", left, 1 << bits), low)
        factor = chosen(work, small, 1 << (bits // 2), 1)
        power = factor if power is None else work.op("Mul", power, factor)
    assert power is not None, "there are stages"
    return Scaled(high, power)
