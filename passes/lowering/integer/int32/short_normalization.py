"""LayerNormalization, InstanceNormalization and RMSNormalization in numbers below 2^24.

With m = ⌊Σq/n⌋ and u = Σq mod n, as in normalization.py:

    c = q − m,   d = c − u/n                         the distance from the mean; RMS: c = q − z, u = 0
    V = Σc² − u²/n + ε·n/s_x²                        in two words, squares.py
    v = (V/256)·4^k in [2^22, 2^24),  D = d·2^k      so that |D| ≤ 2^16: none is longer than all together
    t = D·(2^26/√v) / 2^8 = 2^22·d/√V                with the reciprocal root in two halves of 8 bits
    y = clamp(z_y + γ·√n/s_y·2^-22·t + β/s_y)

D is rounded, so that the normalized value is off by √n·2^-16 standard deviations: 2^-12 for rows of 384.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.int32.normalization import from_mean, times_root
from onnxq.passes.lowering.integer.int32.root import (
    SHORT,
    arithmetic,
    interpolated,
    require_8_bits,
    require_24_bits,
)
from onnxq.passes.lowering.integer.int32.squares import fraction, squares, stretched_words
from onnxq.passes.lowering.integer.linear.product import centered as from_zero
from onnxq.passes.lowering.integer.operand import Operand
from onnxq.passes.lowering.integer.region import Region

__all__ = ["normalize_short"]

LONGEST_DISTANCE = 1 << 16
ROOT = 26
HALF = 8
FRACTION = 22
N_THS = 16


def normalize_short(
    region: Region,
    rw: Rewriter,
    x: Operand,
    axes: Sequence[int],
    count: int,
    gamma: FloatArray,
    beta: FloatArray,
    *,
    centered: bool,
    epsilon: float,
) -> ir.Value:
    """``γ·(x − mean)/√(var + ε) + β`` over ``count`` elements along ``axes``; RMS without the mean.

    Raises:
        Refused: there are too many elements, too large an epsilon, or numbers must be shorter still.
    """
    require_24_bits(region, "reciprocal roots")
    require_8_bits(x)
    work = arithmetic(region, rw, "norm")
    distance, rest = from_mean(work, x, axes, count) if centered else (from_zero(rw, x), None)
    scaled = stretched_words(work, *squares(work, distance, rest, axes, count, epsilon * count / x.scale**2))
    root = interpolated(work, scaled.mantissa, lambda v: 2.0**ROOT / np.sqrt(v), SHORT)
    distance = work.op("Mul", distance, scaled.power)
    if rest is not None:
        distance = work.op("Sub", distance, _mean_rest(work, rest, scaled.power, count))
    distance = work.clip(distance, -LONGEST_DISTANCE, LONGEST_DISTANCE)
    return times_root(region, work, distance, root, HALF, FRACTION, gamma * math.sqrt(count), beta)


def _mean_rest(work: Arithmetic, rest: ir.Value, power: ir.Value, count: int) -> ir.Value:
    """``rest/count·power``, rounded; ``power`` is a power of two, 2^15 at most."""
    unit = work.rw.op("Div", [work.number(1 << N_THS), power], like=power, dtype=work.dtype)
    half = work.rw.op("Div", [work.number(1 << (N_THS - 1)), power], like=power, dtype=work.dtype)
    return work.op("Div", work.op("Add", fraction(work, rest, count), half), unit)
