"""Roots in 32-bit words: a number is brought to 30 bits, and a table with straight lines gives the rest.

    v·4^k in [2^28, 2^30)        by stages: where v < 2^(30−b), v·2^b, for b = 16, 8, 4, 2
    f(v) = T[v >> 18] + L[v >> 18]·((v mod 2^18)/8) / 2^15

A section is at most 2^-9 of its start, so that a line is off by 2^-21 of a root or reciprocal root. Where
numbers have 24 bits, it is [2^22, 2^24), sections of 2^12, and as good.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic, ExactArithmetic
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region

__all__ = [
    "BITS",
    "LONG",
    "SHORT",
    "Line",
    "Scaled",
    "arithmetic",
    "chosen",
    "interpolated",
    "require_8_bits",
    "require_24_bits",
    "stretched",
]

BITS = 30


@dataclass(frozen=True)
class Line:
    """Functions of numbers in [2^(bits−3), 2^bits): lines over 2^section, whose slopes are below 2^line."""

    bits: int
    section: int
    line: int


LONG = Line(BITS, 18, 15)
SHORT = Line(24, 12, 12)


@dataclass(frozen=True, eq=False)
class Scaled:
    """``mantissa = value·power²``, at least 2^28 where the value is not 0; power 2^k is 1 … 2^15."""

    mantissa: ir.Value
    power: ir.Value


def arithmetic(region: Region, rw: Rewriter, what: str) -> Arithmetic:
    """Formulas for ``region``; where float32 has to hold all numbers, nothing is cut off by Div."""
    name = region.result.name or what
    return (ExactArithmetic if region.profile.short else Arithmetic)(rw, name, ir.DataType.INT32)


def require_24_bits(region: Region, what: str) -> None:
    """Accept a dialect whose numbers may reach 2^24.

    Raises:
        Refused: max_accumulator_bits forbids it.
    """
    bits = region.profile.accumulator_bits
    if bits < SHORT.bits:
        raise Refused(
            f"its integer rule needs {what} of {SHORT.bits} bits and max_accumulator_bits={bits} leaves "
            f"{bits}: lower with more, or keep this node float (allow_float=true)"
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


def interpolated(
    work: Arithmetic, value: ir.Value, function: Callable[[FloatArray], FloatArray], line: Line = LONG
) -> ir.Value:
    """``function`` of numbers in [2^(bits−3), 2^bits); it changes by less than 2^line in each section."""
    smallest, section = 1 << (line.bits - 3), 1 << line.section
    value = work.clip(value, smallest, (1 << line.bits) - 1)
    first, last = smallest // section, (1 << line.bits) // section
    points = np.rint(function(np.arange(first, last + 1) * float(section))).astype(np.int64)
    quotient, rest = work.divided(value, section)
    place = work.op("Sub", quotient, first)
    within = work.op("Div", rest, section >> line.line) if line.section > line.line else rest
    start, slope = (
        work.rw.op("Gather", [work.array(numbers), place], {"axis": 0}, like=value)
        for numbers in (points[:-1], np.diff(points))
    )
    return work.op("Add", start, work.op("Div", work.op("Mul", slope, within), 1 << line.line))
