"""ReduceL2 in 32-bit words.

v = V·4^k in [2^28, 2^30),  V = Σ(q − z)²        t = 2^15·√V = (2^9·√v)·2^6 / 2^k
y = clamp(z_y + s_x/s_y·2^-15·t)
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.reduction import reduce_axes
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.int32.normalization import require_short
from onnxq.passes.lowering.integer.int32.root import interpolated, require_8_bits, require_31_bits, stretched
from onnxq.passes.lowering.integer.linear.product import centered
from onnxq.passes.lowering.integer.operand import Operand
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["length_small"]

FRACTION, ROOT = 15, 9


def length_small(region: Region, rw: Rewriter, x: Operand, axes: Sequence[int], count: int) -> ir.Value:
    """The length over ``axes``, of ``count`` elements.

    Raises:
        Refused: sums of squares need more than 30 bits, or numbers must be shorter.
    """
    require_31_bits(region, "roots")
    require_8_bits(x)
    require_short(count)
    work = Arithmetic(rw, region.result.name or "length", ir.DataType.INT32)
    distance = centered(rw, x)
    squares = reduce_axes(rw, "ReduceSum", work.op("Mul", distance, distance), axes)
    scaled = stretched(work, squares)
    mantissa = interpolated(work, scaled.mantissa, lambda v: np.sqrt(v) * 2.0**ROOT)
    root = work.op("Div", work.op("Mul", mantissa, 1 << (FRACTION - ROOT)), scaled.power)
    root = work.op("Mul", root, work.op("Min", squares, 1))
    if not region.node.attributes.get_int("keepdims", 1):
        reduced = rw.const(np.asarray(axes, np.int64), "axes")
        root = rw.op("Squeeze", [root, reduced], like=region.result, dtype=work.dtype)
    bound = np.asarray((math.isqrt(count * 255**2) + 1) << FRACTION, np.int64)
    term = Term(np.asarray(x.scale / (region.scale * 2.0**FRACTION)), np.zeros((), np.int64), bound)
    fixed = region.fixed_point([term])
    return requantize(rw, [root], fixed, region)
