"""Softmax in integers: a table of exponentials, a sum, one division.

    d = max(x) − x                       0 … 255, whatever the zero point
    e = T[d],  T[i] = round(exp(−i·s_x)·2^P)
    y = z_y + (n·e + s/2) / s,  s = Σ e,  n = 1/s_y          (int32 where n is a whole number up to 256)

P is the largest for which n·e and s fit their word, at most 22. In int32 the table has n·e, with more bits
than e has, and a division gives e: T'[i] = round(n·exp(−i·s_x)·2^P) + n/2, e = T'[d]/n. int64
serves where the length of the axis is not known; where 1/s_y is no such number it computes
(M·e + (s << 15)) / (s << 16) with M = round(2^16/s_y).
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.mask import is_masked, masked_input
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.reduction import reduce_axes
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.requantize import cast
from onnxq.passes.lowering.integer.small_softmax import softmax_small

__all__ = ["lower_softmax"]

INT32, INT64 = ir.DataType.INT32, ir.DataType.INT64


@dataclass(frozen=True)
class _Plan:
    """Bits of the table's entries, and ``factor/2^scaling = 1/s_y`` in words of ``dtype``."""

    precision: int
    factor: int
    scaling: int
    dtype: ir.DataType


def lower_softmax(region: Region, rw: Rewriter) -> ir.Value:
    """Softmax along one axis (opset 13 or later), with or without an attention mask in front."""
    x, wide = masked_input(region, rw)
    shape, axis = wide.shape, region.node.attributes.get_int("axis", -1)
    if shape is None:
        raise Refused("the rank of its input is not known; run shape inference")
    known, axis = shape[axis], axis % len(shape)
    length = known if isinstance(known, int) else None
    greatest = reduce_axes(rw, "ReduceMax", wide, [axis])
    distance = rw.op("Sub", [greatest, wide], like=wide, dtype=INT32)
    if region.profile.dialect == Dialect.INT32:
        return softmax_small(region, rw, distance, x, axis, length, masked=is_masked(wide))
    plan, name = _plan(length, region.scale), region.result.name or "softmax"
    narrow, work = Arithmetic(rw, name, INT32), Arithmetic(rw, name, plan.dtype)
    table = np.exp(-np.arange(256) * x.scale) * 2.0**plan.precision
    if is_masked(wide):
        distance, table = narrow.clip(distance, 0, 256), np.append(table, 0)
    if plan.dtype == INT32:
        table = np.rint(table * plan.factor) + plan.factor // 2
    table = table if plan.dtype == INT32 else np.rint(table)
    image = rw.op("Gather", [work.array(table.astype(np.int64)), distance], like=wide, dtype=plan.dtype)
    divide = _divide_multiples if plan.dtype == INT32 else _divide
    quotient = cast(rw, divide(work, image, axis, plan), INT32)
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
