"""LogSoftmax in integers: the distance from the maximum, and the logarithm of the sum of exponentials.

    d = max(x) − x,  e = T[d],  T[i] = round(exp(−i·s_x)·2^28),  s = Σ e        at least 2^30
    y = clamp(z_y − 1/s_y·(s_x·d + ln(s/2^28)))

The logarithm: s = m·2^k with 1 ≤ m < 2; ln s = k·ln 2 + ln m, and ln m from a table of 1024 sections, each a
straight line, which is off by 2^-23.
"""

import math

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.reduction import reduce_axes
from onnxq.passes.lowering.integer.emit.requantize import cast, requantize
from onnxq.passes.lowering.integer.emit.square_root import bit_length
from onnxq.passes.lowering.integer.functions.row import below_maximum
from onnxq.passes.lowering.integer.functions.softmax import exponentials
from onnxq.passes.lowering.integer.int32.softmax import log_softmax_small
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["lower_log_softmax"]

INT32, INT64 = ir.DataType.INT32, ir.DataType.INT64

PRECISION = 28
LONGEST = 2**30
FARTHEST = 2**16
"""Steps of 8-bit x by which a mask lowers an element at most; of 16-bit x 256 times as many."""

TOP = 60
SECTIONS = 10
"""Bits of the mantissa that choose a line."""


def lower_log_softmax(region: Region, rw: Rewriter) -> ir.Value:
    """LogSoftmax along one axis of at most 2^30 elements (opset 13 or later)."""
    row = below_maximum(region, rw)
    if region.profile.dialect == Dialect.INT32:
        return log_softmax_small(region, rw, row)
    x, name = row.x, region.result.name or "log_softmax"
    narrow, work = Arithmetic(rw, name, INT32), Arithmetic(rw, name, INT64)
    farthest = FARTHEST * x.levels // 256
    distance = narrow.clip(row.distance, 0, farthest)
    table = np.append(exponentials(x, 2.0**PRECISION), 0).astype(np.int64)
    ends = row.masked or len(table) <= x.levels
    index = narrow.clip(distance, 0, len(table) - 1) if ends else distance
    image = rw.op("Gather", [work.array(table), index], like=row.distance, dtype=INT64)
    logarithm = _logarithm(work, reduce_axes(rw, "ReduceSum", image, [row.axis]))
    # the step of 16-bit codes is short, and there are many: it gets more bits, which a division drops
    more = max(min(16, TOP - (farthest * math.ceil(x.scale * 2**PRECISION)).bit_length()), 0) if x.wide else 0
    step = round(x.scale * 2 ** (PRECISION + more))
    steps = work.op("Mul", cast(rw, distance, INT64), step)
    total = work.op("Add", work.op("Div", steps, 1 << more) if more else steps, logarithm)
    most = math.log(row.length or LONGEST) + 1
    reach = (farthest if row.masked else x.levels - 1) * step >> more
    bound = np.asarray(reach + round(most * 2**PRECISION), np.int64)
    term = Term(np.asarray(-(2.0**-PRECISION) / region.scale), np.zeros((), np.int64), bound)
    fixed = region.fixed_point([term])
    return requantize(rw, [total], fixed, region)


def _logarithm(work: Arithmetic, total: ir.Value) -> ir.Value:
    """``ln(total/2^28)·2^30`` of int64 in [2^30, 2^60)."""
    rw = work.rw
    steps = np.asarray([2**k - 1 for k in range(1, TOP + 1)], np.int64)
    exponent = bit_length(work, total, steps)
    to_top = work.array(np.asarray([2 ** (TOP - k) for k in range(TOP + 1)], np.int64))
    mantissa = work.op("Mul", total, rw.op("Gather", [to_top, exponent], {"axis": 0}, like=total))
    section = 1 << (TOP - SECTIONS)
    place = work.op("Sub", work.op("Div", mantissa, section), 1 << SECTIONS)
    rest = work.op("Div", work.op("Mod", mantissa, section), section >> 20)
    points = np.log1p(np.arange((1 << SECTIONS) + 1) / (1 << SECTIONS)) * 2.0**PRECISION
    values = np.rint(points).astype(np.int64)
    start, slope = (
        rw.op("Gather", [work.array(line), place], {"axis": 0}, like=total)
        for line in (values[:-1], np.diff(values))
    )
    within = work.op("Div", work.op("Mul", slope, rest), 1 << 20)
    octave = work.op("Mul", work.op("Sub", exponent, PRECISION), round(math.log(2) * 2**PRECISION))
    return work.op("Add", work.op("Add", octave, start), within)
