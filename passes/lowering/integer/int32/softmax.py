"""Softmax and LogSoftmax in 32-bit words.

    d = max(x) − x,  e = T[d],  T[i] = round(exp(−i·s_x)·2^P),  s = Σ e

    Softmax       y = z_y + (T'[d] + s/2) / s,  T'[i] = round(exp(−i·s_x)/s_y·2^P)
    LogSoftmax    y = clamp(z_y − 1/s_y·(s_x·d + ln(s/2^P)))

The scale of the result is in a second table, which spares a product. The logarithm: s = m·2^k with m from 1
to 2; ln s = k·ln 2 + ln m, and ln m from a table with straight lines.
"""

import math

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.requantize import cast, requantize
from onnxq.passes.lowering.integer.functions.row import Row
from onnxq.passes.lowering.integer.int32.root import (
    LONG,
    SHORT,
    Line,
    arithmetic,
    chosen,
    interpolated,
    require_8_bits,
    require_24_bits,
)
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["log_softmax_small", "softmax_small"]

INT32 = ir.DataType.INT32

LONGEST_TABLE = 256
FEWEST = 8
LOGARITHM = {LONG: 20, SHORT: 18}
"""Bits behind the point of logarithms."""


def softmax_small(region: Region, rw: Rewriter, row: Row) -> ir.Value:
    """Softmax of a row.

    Raises:
        Refused: too few bits are left for each exponential, or the length of the axis is not known.
    """
    require_8_bits(row.x)
    bits = region.profile.accumulator_bits - 1
    room = bits - max(_length_bits(row.length), math.ceil(math.log2(1 / region.scale)))
    precision = min(22, room)
    if precision < FEWEST:
        raise Refused(
            f"its axis of {row.length} elements and its scale leave {precision} bits of {bits} for each "
            f"exponential, fewer than {FEWEST}"
        )
    work = arithmetic(region, rw, "softmax")
    image = _image(work, row, 2.0**precision)
    dividend = _image(work, row, 2.0**precision / region.scale)
    total = work.total(image, [row.axis])
    dividend = work.op("Add", dividend, work.op("Div", total, 2))
    quotient = work.op("Div", dividend, total)
    if region.zero_point:
        quotient = work.op("Add", quotient, region.zero_point)
    return cast(rw, work.clip(quotient, region.low, region.high), region.output.format.ir_dtype)


def log_softmax_small(region: Region, rw: Rewriter, row: Row) -> ir.Value:
    """LogSoftmax of a row.

    Raises:
        Refused: too few bits are left, or numbers must be shorter.
    """
    require_24_bits(region, "logarithms")
    require_8_bits(row.x)
    line = SHORT if region.profile.short else LONG
    precision = min(22, line.bits - 1 - _length_bits(row.length))
    if precision < FEWEST:
        raise Refused(
            f"its axis of {row.length} elements leaves fewer than {FEWEST} bits for each exponential"
        )
    work = arithmetic(region, rw, "log_softmax")
    image = _image(work, row, 2.0**precision)
    logarithm = _logarithm(work, work.total(image, [row.axis]), precision, line)
    # what is further away than all codes of the result gives the last one
    farthest = math.ceil(255 * region.scale / row.x.scale) + 1 if row.masked else 255
    behind = LOGARITHM[line]
    fraction = min(behind, math.floor(math.log2(2.0 ** (line.bits - 2) / (row.x.scale * farthest))))
    step = round(row.x.scale * 2**fraction)
    if fraction < FEWEST or step < 1 << FEWEST or step * farthest >= 2 ** (line.bits - 1):
        raise Refused(f"its scales {row.x.scale:g} and {region.scale:g} are too far apart; calibrate again")
    distance = work.clip(row.distance, 0, farthest)
    part = work.op("Div", logarithm, 1 << (behind - fraction)) if fraction < behind else logarithm
    total = work.op("Add", work.op("Mul", distance, step), part)
    bound = np.asarray(step * farthest + (22 << fraction), np.int64)
    term = Term(np.asarray(-(2.0**-fraction) / region.scale), np.zeros((), np.int64), bound)
    fixed = region.fixed_point([term])
    return requantize(rw, [total], fixed, region)


def _length_bits(length: int | None) -> int:
    if length is None:
        raise Refused("the length of its axis is not known, so that int32 cannot be proven; fix the shapes")
    return math.ceil(math.log2(max(length, 1)))


def _image(work: Arithmetic, row: Row, unit: float) -> ir.Value:
    """``exp(−distance·s_x)·unit``; 0 where a mask hides."""
    table = np.rint(np.exp(-np.arange(LONGEST_TABLE) * row.x.scale) * unit).astype(np.int64)
    distance = row.distance
    if row.masked:
        distance, table = work.clip(distance, 0, LONGEST_TABLE), np.append(table, 0)
    return work.rw.op("Gather", [work.array(table), distance], {"axis": 0}, like=distance, dtype=INT32)


def _logarithm(work: Arithmetic, total: ir.Value, precision: int, line: Line) -> ir.Value:
    """``ln(total/2^precision)`` of numbers from 2^precision to 2^bits."""
    unit = 1 << LOGARITHM[line]
    octaves: ir.Value | None = None
    for bits in (16, 8, 4, 2, 1):
        limit = 1 << (line.bits - bits)
        small = work.compare("Less", total, work.number(limit))
        total = chosen(work, small, work.op("Mul", work.op("Min", total, limit - 1), 1 << bits), total)
        part = chosen(work, small, round(bits * math.log(2) * unit), 0)
        octaves = part if octaves is None else work.op("Add", octaves, part)
    assert octaves is not None, "there are stages"
    mantissa = interpolated(work, total, lambda v: np.log(v / 2.0**precision) * unit, line)
    return work.op("Max", work.op("Sub", mantissa, octaves), 0)
