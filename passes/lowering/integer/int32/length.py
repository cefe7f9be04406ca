"""ReduceL2 in 32-bit words.

v = V·4^k in [2^28, 2^30),  V = Σ(q − z)²        t = 2^15·√V = (2^9·√v)·2^6 / 2^k
y = clamp(z_y + s_x/s_y·2^-15·t)

In numbers below 2^24: v = (V/256)·4^k in [2^22, 2^24),  t = 2^8·√V = (2^10·√v)·2^2 / 2^k.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.int32.normalization import require_short
from onnxq.passes.lowering.integer.int32.root import (
    SHORT,
    arithmetic,
    interpolated,
    require_8_bits,
    require_24_bits,
    stretched,
)
from onnxq.passes.lowering.integer.int32.squares import squares, stretched_words
from onnxq.passes.lowering.integer.linear.product import centered
from onnxq.passes.lowering.integer.operand import Operand
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["length_small"]


def length_small(region: Region, rw: Rewriter, x: Operand, axes: Sequence[int], count: int) -> ir.Value:
    """The length over ``axes``, of ``count`` elements.

    Raises:
        Refused: sums of squares need more than 30 bits, or numbers must be shorter.
    """
    require_24_bits(region, "roots")
    require_8_bits(x)
    work = arithmetic(region, rw, "length")
    root, fraction = (_short if region.profile.short else _long)(work, centered(rw, x), axes, count)
    if not region.node.attributes.get_int("keepdims", 1):
        reduced = rw.const(np.asarray(axes, np.int64), "axes")
        root = rw.op("Squeeze", [root, reduced], like=region.result, dtype=work.dtype)
    bound = np.asarray((math.isqrt(count * 255**2) + 1) << fraction, np.int64)
    term = Term(np.asarray(x.scale / (region.scale * 2.0**fraction)), np.zeros((), np.int64), bound)
    fixed = region.fixed_point([term])
    return requantize(rw, [root], fixed, region)


def _long(work: Arithmetic, distance: ir.Value, axes: Sequence[int], count: int) -> tuple[ir.Value, int]:
    """The length with 15 bits behind the point."""
    require_short(count)
    squared = work.total(work.op("Mul", distance, distance), axes)
    scaled = stretched(work, squared)
    root = interpolated(work, scaled.mantissa, lambda v: np.sqrt(v) * 2.0**9)
    root = work.op("Div", work.op("Mul", root, 1 << 6), scaled.power)
    return work.op("Mul", root, work.op("Min", squared, 1)), 15


def _short(work: Arithmetic, distance: ir.Value, axes: Sequence[int], count: int) -> tuple[ir.Value, int]:
    """The length with 8 bits behind the point."""
    high, low = squares(work, distance, None, axes, count)
    scaled = stretched_words(work, high, low)
    root = interpolated(work, scaled.mantissa, lambda v: np.sqrt(v) * 2.0**10, SHORT)
    root = work.op("Div", work.op("Mul", root, 1 << 2), scaled.power)
    return work.op("Mul", root, work.op("Min", work.op("Add", high, low), 1)), 8
