"""Roots in 32-bit words: a number is brought to 30 bits, and a table with straight lines gives the rest.

    v·4^k in [2^28, 2^30)        by stages: where v < 2^(30−b), v·2^b, for b = 16, 8, 4, 2
    f(v) = T[v >> 18] + L[v >> 18]·((v mod 2^18)/8) / 2^15

A section is at most 2^-9 of its start, so that a line is off by 2^-21 of a root or reciprocal root.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region

__all__ = ["BITS", "Scaled", "chosen", "interpolated", "require_8_bits", "require_31_bits", "stretched"]

BITS = 30
SMALLEST = 27
SECTION, LINE = 18, 15


@dataclass(frozen=True, eq=False)
class Scaled:
    """``mantissa = value·power²``, at least 2^28 where the value is not 0; power 2^k is 1 … 2^15."""

    mantissa: ir.Value
    power: ir.Value


def require_31_bits(region: Region, what: str) -> None:
    """Accept a dialect whose numbers may reach 2^31.

    Raises:
        Refused: max_accumulator_bits forbids it.
    """
    bits = region.profile.accumulator_bits
    if bits < 31:
        raise Refused(
            f"its integer rule needs {what} of 31 bits and max_accumulator_bits={bits} leaves {bits}: "
            "lower with max_accumulator_bits=31, or keep this node float (allow_float=true)"
        )


def require_8_bits(*operands: Operand) -> None:
    """Accept operands whose products of codes fit 32-bit words.

    Raises:
        Refused: one has more bits.
    """
    if any(operand.qparams.format.bits > 8 for operand in operands):
        raise Refused("its integer rule of dialect=int32 reads 8-bit codes only; use dialect=portable")


def chosen(work: Arithmetic, test: ir.Value, yes: ir.Value | int, no: ir.Value | int) -> ir.Value:
    """Prepare a Where of the shape of ``test``."""
    branches = [work.number(v) if isinstance(v, int) else v for v in (yes, no)]
    return work.rw.op("Where", [test, *branches], like=test, dtype=work.dtype)


def stretched(work: Arithmetic, value: ir.Value) -> Scaled:
    """A number from 0 to 2^30 − 1 times the largest power of four that keeps it below 2^30."""
    power: ir.Value | None = None
    for bits in (16, 8, 4, 2):
        limit = 1 << (BITS - bits)
        small = work.compare("Less", value, work.number(limit))
        larger = work.op("Mul", work.op("Min", value, limit - 1), 1 << bits)
        value = chosen(work, small, larger, value)
        factor = chosen(work, small, 1 << (bits // 2), 1)
        power = factor if power is None else work.op("Mul", power, factor)
    assert power is not None, "there are stages"
    return Scaled(value, power)


def interpolated(work: Arithmetic, value: ir.Value, function: Callable[[FloatArray], FloatArray]) -> ir.Value:
    """``function`` of numbers in [2^27, 2^30); it changes by less than 2^15 in each section."""
    value = work.clip(value, 1 << SMALLEST, (1 << BITS) - 1)
    first, last = 1 << (SMALLEST - SECTION), 1 << (BITS - SECTION)
    points = np.rint(function(np.arange(first, last + 1) * 2.0**SECTION)).astype(np.int64)
    place = work.op("Sub", work.op("Div", value, 1 << SECTION), first)
    within = work.op("Div", work.op("Mod", value, 1 << SECTION), 1 << (SECTION - LINE))
    start, slope = (
        work.rw.op("Gather", [work.array(line), place], {"axis": 0}, like=value)
        for line in (points[:-1], np.diff(points))
    )
    return work.op("Add", start, work.op("Div", work.op("Mul", slope, within), 1 << LINE))
