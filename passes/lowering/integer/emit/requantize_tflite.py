"""Rescaling as TFLite's reference kernels do it: a doubling high product, then a rounding shift.

    y = clamp(z + POT(SRDHM(q + bias, M), right))        ten nodes; both steps as in tflite_fixed_point

Sums of two follow TFLite's ADD and SUB: each operand times 2^20 is rescaled to twice the larger scale, both
are added, and the sum is rescaled to the output. Bit-exact for CONV_2D, DEPTHWISE_CONV_2D, MUL, ADD and SUB
of the reference kernels; FULLY_CONNECTED there and the optimized kernels round otherwise.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.errors import PassError
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.words import Words, cast
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import FixedPoint, Term, shrink
from onnxq.quant.tflite_fixed_point import tflite_multiplier

__all__ = ["requantize_tflite"]

WINDOW = 31
"""2^31 is added to signed 32-bit numbers so that they are positive in unsigned words."""

LEFT = 20
"""TFLite's ADD and SUB have so many more bits than their inputs."""


def requantize_tflite(
    rw: Rewriter, values: Sequence[ir.Value], fixed: FixedPoint, region: Region
) -> ir.Value:
    """Prepare TFLite's nodes from one integer tensor a term; codes of ``region.result``.

    Raises:
        PassError: the product of an accumulator and a multiplier above one leaves int32.
    """
    work = Words(rw, region.result, *region.profile.words(64))
    if len(fixed.terms) == 1:
        (term,), (value,) = fixed.terms, values
        shifted = _rescaled(work, value, term, fixed, region.where)
    else:
        shifted = _rescaled(work, *_aligned(work, values, fixed, region.where), fixed, region.where)
    window = 1 << WINDOW
    return cast(
        rw, work.clip(shifted, window + fixed.low, window + fixed.high), region.output.format.ir_dtype
    )


def _aligned(work: Words, values: Sequence[ir.Value], fixed: FixedPoint, where: str) -> tuple[ir.Value, Term]:
    """The sum of all operands at 2^-20 of twice the larger scale, and the term that it is."""
    largest = 2 * max(float(np.max(np.abs(term.real))) for term in fixed.terms)
    total: ir.Value | None = None
    reach = 0
    for value, term in zip(values, fixed.terms, strict=True):
        subtract = total is not None and bool((term.real < 0).all())
        real = (-term.real if subtract else term.real) / largest
        own = Term(real, term.low << LEFT, term.high << LEFT, np.asarray(term.bias << LEFT))
        wide = work.product(value, np.asarray(1 << LEFT, np.int64))
        part = work.op("Sub", _rescaled(work, wide, own, None, where), np.int64(1 << WINDOW))
        total = part if total is None else work.op("Sub" if subtract else "Add", total, part)
        reach += math.ceil(own.peak) + 1
    assert total is not None, "a sum has terms"
    return total, Term(np.asarray(largest / (1 << LEFT)), np.asarray(-reach), np.asarray(reach))


def _rescaled(work: Words, value: ir.Value, term: Term, fixed: FixedPoint | None, where: str) -> ir.Value:
    """``POT(SRDHM(value + bias, M), right) + zero point + constant + 2^31``."""
    m = tflite_multiplier(term.real)
    if (np.ldexp(term.reach, m.left) >= 2.0**31).any():
        raise PassError(
            f"{where}: its accumulator times a multiplier above one can leave int32, as in TFLite"
        )
    half = np.int64((1 << 62) + (1 << 30))
    high = work.shift(work.op("Add", work.product(value, m.factor), m.factor * term.bias + half), 31)
    positive = work.shift(high, WINDOW)
    rounds = (m.right > 0).astype(np.int64)
    if not rounds.all():
        positive = work.op("Mul", positive, rounds)
    nudge = np.where(m.right > 0, (np.int64(1) << np.maximum(m.right - 1, 0)) - 1, 0)
    rest = nudge - (1 << WINDOW) + (np.int64(1 << WINDOW) << m.right)
    if fixed is not None:
        rest = rest + (np.int64(fixed.zero_point) << m.right) + _grid(fixed.constant, m.right)
    total = work.op("Add", work.op("Add", high, positive), shrink(rest))
    return work.shift(total, shrink(m.right))


def _grid(constant: FloatArray, right: IntArray) -> IntArray:
    return np.rint(np.ldexp(constant, right)).astype(np.int64)
