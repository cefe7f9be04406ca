"""From accumulators to codes in six nodes: Cast, Mul, Add, BitShift, Clip, Cast.

    y = Cast(Clip(BitShift(Cast<u64>(q)·M + (K + (W << S)), S), W + low, W + high))      W = 2^(62−S)

Casting a negative number to unsigned, Mul and Add wrap modulo 2^64, so signs need no node. The window W
makes the shifted number positive; it is a multiple of 256, so the last Cast, which keeps the low byte,
drops it. Unsigned words because ONNX shifts only these, and because int64 Clip is wrong in ONNX Runtime 1.21
to 1.31 on x86. With several terms each has its Cast and Mul, and Add sums them. The portable dialect sums in
signed words, since ONNX Runtime multiplies unsigned ones from 1.21 on only, and casts before it shifts.

In the fast dialect a division takes the place of all that, where it is exact enough (requantize_ratio.py).

That rounds half up. Other roundings take two to five nodes more, and only where ties can occur; TFLite's and
the int32 dialect have forms of their own.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize_int32 import requantize_int32
from onnxq.passes.lowering.integer.emit.requantize_ratio import requantize_ratio
from onnxq.passes.lowering.integer.emit.requantize_tflite import requantize_tflite
from onnxq.passes.lowering.integer.emit.words import Words, cast
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import FixedPoint, Rounding

__all__ = ["cast", "requantize"]


def requantize(rw: Rewriter, values: Sequence[ir.Value], fixed: FixedPoint, region: Region) -> ir.Value:
    """Prepare the nodes that compute ``fixed`` from one integer tensor a term; codes of ``region.result``."""
    values = _broadcast(rw, values, fixed, region)
    if region.profile.dialect == Dialect.INT32:
        return requantize_int32(rw, values, fixed, region)
    if region.profile.rounding == Rounding.TFLITE:
        return requantize_tflite(rw, values, fixed, region)
    if (codes := requantize_ratio(rw, values, fixed, region)) is not None:
        return codes
    work = Words(rw, region.result, *region.profile.words(fixed.word))
    total = work.sum([work.product(v, m) for v, m in zip(values, fixed.multipliers, strict=True)])
    rest: IntArray = np.asarray(fixed.window << fixed.shift, np.int64)
    if fixed.ties and region.profile.rounding != Rounding.HALF_UP:
        total = _unbiased(work, total, fixed, region.profile.rounding)
        rest = rest + np.int64(fixed.zero_point << fixed.shift)
    else:
        rest = rest + fixed.addend
    shifted = work.shift(work.op("Add", total, rest), fixed.shift)
    clamped = work.clip(shifted, fixed.window + fixed.low, fixed.window + fixed.high)
    return cast(rw, clamped, region.output.format.ir_dtype)


def _broadcast(
    rw: Rewriter, values: Sequence[ir.Value], fixed: FixedPoint, region: Region
) -> Sequence[ir.Value]:
    """The values, stretched where a constant gave the result its shape and is one number in ``fixed``."""
    given = [value.shape for value in values]
    if any(shape is None for shape in given):
        return values
    reals = [np.shape(array) for term in fixed.terms for array in (term.real, term.bias)]
    wanted = np.broadcast_shapes(*reals, fixed.constant.shape)
    kept = [array.shape for array in (*fixed.multipliers, fixed.offset)]
    shapes = [list(shape) for shape in (*given, *kept) if shape is not None]
    places = range(-len(wanted), 0)
    reached = [any(len(own) >= -at and own[at] != 1 for own in shapes) for at in places]
    lengths = [1 if known else wanted[at] for at, known in zip(places, reached, strict=True)]
    if max(lengths, default=1) == 1 and max(map(len, shapes)) >= len(wanted):
        return values
    target = rw.const(np.asarray(lengths, np.int64), f"{region.result.name or 'codes'}_shape")
    first, *others = values
    return [rw.op("Expand", [first, target], dtype=first.dtype, shape=region.result.shape), *others]


def _unbiased(work: Words, total: ir.Value, fixed: FixedPoint, rounding: Rounding) -> ir.Value:
    """The sum plus what makes the shift round ties to even, or away from zero.

    even: v + 2^(S−1) − 1 + p,  p = (v << (word−1−S)) >> (word−1), the last bit of v >> S
    away: v + 2^(S−1) − n,      n = v >> (word−1), the sign
    """
    v = work.op("Add", total, fixed.offset)
    if rounding == Rounding.HALF_AWAY:
        negative = work.shift(v, fixed.word - 1)
        return work.op("Add", work.op("Sub", v, negative), np.int64(fixed.half))
    parity = work.shift(work.shift(v, fixed.word - 1 - fixed.shift, "LEFT"), fixed.word - 1)
    return work.op("Add", work.op("Add", v, parity), np.int64(fixed.half - 1))
