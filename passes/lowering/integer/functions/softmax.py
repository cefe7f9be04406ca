"""Softmax in integers: a table of exponentials, a sum, one division.

    d = max(x) − x                       0 … 255, of 16 bits 0 … 65,535, whatever the zero point
    e = T[d],  T[i] = round(exp(−i·s_x)·2^P)
    y = z_y + (n·e + s/2) / s,  s = Σ e,  n = 1/s_y          (int32 where n is a whole number up to 256)

P is the largest for which n·e and s fit their word, at most 22. In int32 the table has n·e, with more bits
than e has, and a division gives e: T'[i] = round(n·exp(−i·s_x)·2^P) + n/2, e = T'[d]/n. int64
serves where the length of the axis is not known; where 1/s_y is no such number it computes
(M·e + (s << 15)) / (s << 16) with M = round(2^16/s_y). Results of 16 bits have P = 28 in int64. Of 16-bit
codes the table ends where nothing is left of e^-d.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.reduction import reduce_axes
from onnxq.passes.lowering.integer.emit.requantize import cast
from onnxq.passes.lowering.integer.functions.row import below_maximum
from onnxq.passes.lowering.integer.int32.softmax import softmax_small
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region

__all__ = ["exponentials", "lower_softmax"]

INT32, INT64 = ir.DataType.INT32, ir.DataType.INT64

WIDE_PRECISION = 28
"""Bits of an exponential where the result has 16."""


@dataclass(frozen=True)
class _Plan:
    """Bits of the table's entries, and ``factor/2^scaling = 1/s_y`` in words of ``dtype``."""

    precision: int
    factor: int
    scaling: int
    dtype: ir.DataType


def lower_softmax(region: Region, rw: Rewriter) -> ir.Value:
    """Softmax along one axis (opset 13 or later), with or without an attention mask in front."""
    row = below_maximum(region, rw)
    x, distance = row.x, row.distance
    if region.profile.dialect == Dialect.INT32:
        return softmax_small(region, rw, row)
    plan = _plan(row.length, region.scale) if region.narrow else _wide_plan(row.length, region.scale)
    multiples, name = plan.dtype == INT32, region.result.name or "softmax"
    narrow, work = Arithmetic(rw, name, INT32), Arithmetic(rw, name, plan.dtype)
    table = exponentials(x, 2.0**plan.precision * (plan.factor if multiples else 1))
    if row.masked or len(table) < x.levels:
        distance, table = narrow.clip(distance, 0, len(table)), np.append(table, 0)
    if multiples:
        table = table + plan.factor // 2
    image = rw.op("Gather", [work.array(table.astype(np.int64)), distance], like=distance, dtype=plan.dtype)
    divide = _divide_multiples if multiples else _divide
    quotient = cast(rw, divide(work, image, row.axis, plan), INT32)
    if region.zero_point:
        quotient = narrow.op("Add", quotient, region.zero_point)
    return cast(rw, narrow.clip(quotient, region.low, region.high), region.output.format.ir_dtype)


def _plan(length: int | None, scale: float) -> _Plan:
    precision = 22 if length is None else min(22, 30 - math.ceil(math.log2(max(length, 1))))
    if precision < 8:
        raise Refused(f"its axis of {length} elements leaves fewer than 8 bits for each exponential")
    whole = round(1 / scale)
    if 1 <= whole <= 256 and np.float32(1 / whole) == np.float32(scale):
        return _Plan(precision, whole, 0, INT32 if length is not None else INT64)
    factor = round(2**16 / scale)
    if not 0 < factor < 2**40:
        raise Refused(f"its output scale {scale:g} is none for numbers between 0 and 1")
    return _Plan(precision, factor, 16, INT64)


def _wide_plan(length: int | None, scale: float) -> _Plan:
    """For results of 16 bits; ``M·e`` and ``s << 16`` stay below 2^62."""
    whole = round(1 / scale)
    if 1 <= whole <= 2**16 and np.float32(1 / whole) == np.float32(scale):
        return _Plan(WIDE_PRECISION, whole, 0, INT64)
    factor = round(2**16 / scale)
    if not 0 < factor < 2**34 or (length is not None and length > 2**17):
        raise Refused(f"its output scale {scale:g} or its length leaves no room for 16-bit results")
    return _Plan(WIDE_PRECISION, factor, 16, INT64)


def exponentials(x: Operand, one: float) -> FloatArray:
    """``round(exp(−i·s_x)·one)`` for all differences of codes i until nothing is left."""
    reach = math.ceil(math.log(2 * one) / x.scale) if x.wide else x.levels
    image: FloatArray = np.rint(np.exp(-np.arange(min(reach, x.levels)) * x.scale) * one)
    return image


def _divide_multiples(work: Arithmetic, image: ir.Value, axis: int, plan: _Plan) -> ir.Value:
    """``round(n·e/total)`` of n·e + n/2."""
    part = work.op("Div", image, plan.factor)
    total = reduce_axes(work.rw, "ReduceSum", part, [axis])
    half = work.op("Sub", work.op("Div", total, 2), plan.factor // 2)
    return work.op("Div", work.op("Add", image, half), total)


def _divide(work: Arithmetic, image: ir.Value, axis: int, plan: _Plan) -> ir.Value:
    """``round(image/total · factor/2^scaling)``; both are positive, so Div truncates downwards."""
    total = reduce_axes(work.rw, "ReduceSum", image, [axis])
    if plan.scaling:
        half = work.op("Mul", total, 1 << (plan.scaling - 1))
        total = work.op("Mul", total, 1 << plan.scaling)
    else:
        half = work.op("Div", total, 2)
    return work.op("Div", work.op("Add", work.op("Mul", image, plan.factor), half), total)
