"""LayerNormalization, InstanceNormalization and RMSNormalization in integers.

With d = n·q − Σq (the zero point cancels) the normalized value is free of the input's scale:

    (x − mean)/√(var + ε) = d/√V,   V = Σd²/n + ε·n²/s_x²         RMS: d = q − z,  V = Σd²/n + ε/s_x²

    v = V·4^p as int64            p: as many bits as fit
    r = √v                        off by 2^-36, and a unit at most (square_root.py)
    t = d·(2^B / r) / 2^(B−p−24)  the normalized value with 24 bits behind the point
    y = clamp(z_y + γ/s_y·2^-24·t + β/s_y)

All divisions truncate, which costs 2^-24 of a standard deviation each. Where squares of n·q − Σq are too
long, as of 16-bit codes, d = 2^f·q − ⌊2^f·Σq/n⌋ takes its place, with 2^f for n and the largest f for which
p is 2; that is off by 2^-f of a code.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.reduction import reduce_axes
from onnxq.passes.lowering.integer.emit.requantize import cast, requantize
from onnxq.passes.lowering.integer.emit.square_root import square_root
from onnxq.passes.lowering.integer.int32.normalization import normalize_small
from onnxq.passes.lowering.integer.int32.short_normalization import normalize_short
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["WORD", "element_count", "lower_instance_norm", "lower_layer_norm", "normalize"]

INT64 = ir.DataType.INT64

FRACTION = 24
WORD = 61
"""Bits that intermediate numbers may use, sign and a factor of two aside."""


def lower_layer_norm(region: Region, rw: Rewriter) -> ir.Value:
    """LayerNormalization or RMSNormalization over the last axes, of known length."""
    x = region.activation(0)
    rank = len(_shape(x))
    axis = region.node.attributes.get_int("axis", -1) % rank
    gamma, beta = _parameters(region)
    centered = not is_op(region.node, "RMSNormalization")
    return normalize(region, rw, x, range(axis, rank), gamma, beta, centered=centered)


def lower_instance_norm(region: Region, rw: Rewriter) -> ir.Value:
    """InstanceNormalization: over all axes behind the channels, with one γ and β a channel."""
    x = region.activation(0)
    rank = len(_shape(x))
    per_channel = (-1, *[1] * (rank - 2))
    gamma, beta = (array.reshape(per_channel) for array in _parameters(region))
    return normalize(region, rw, x, range(2, rank), gamma, beta)


def normalize(
    region: Region,
    rw: Rewriter,
    x: Operand,
    axes: Sequence[int],
    gamma: FloatArray,
    beta: FloatArray,
    *,
    centered: bool = True,
    epsilon: float | None = None,
) -> ir.Value:
    """``γ·(x − mean)/√(var + ε) + β`` over axes of known length; RMS without the mean.

    Raises:
        Refused: sums of squares need more than 64 bits, or an axis is of unknown length.
    """
    count = element_count(x, axes)
    if epsilon is None:
        epsilon = region.node.attributes.get_float("epsilon", 1e-5)
    if region.profile.dialect == Dialect.INT32:
        normalized = normalize_short if region.profile.short else normalize_small
        return normalized(region, rw, x, axes, count, gamma, beta, centered=centered, epsilon=epsilon)
    work = Arithmetic(rw, region.result.name or "norm", INT64)
    unit = _unit(x, count) if centered else 1
    reach = unit * (x.levels - 1)
    bits = (WORD - (count * reach**2).bit_length()) // 2
    epsilon = epsilon * (unit / x.scale) ** 2
    if bits < 2 or epsilon * 4**bits > 2**WORD:
        raise Refused(
            "its sums of squares need more than 64 bits: too many elements, or too large an epsilon"
        )
    smallest = max(round(epsilon * 4**bits), 1)
    distance = _distance(work, x, axes, count, unit if centered else None)
    squares = reduce_axes(rw, "ReduceSum", work.op("Mul", distance, distance), axes)
    variance = work.op("Div", work.op("Mul", squares, 4**bits), count)
    root = square_root(work, work.op("Add", variance, smallest))
    # 26 bits of the reciprocal, even of the largest root; d/√V stays below 2·√n
    greatest = math.isqrt(reach**2 * 4**bits + smallest).bit_length()
    power = min(greatest + FRACTION + 2, WORD + bits - math.isqrt(count).bit_length() - 2)
    reciprocal = rw.op("Div", [work.number(2**power), root], like=root)
    value = work.op("Div", work.op("Mul", distance, reciprocal), 2 ** (power - bits - FRACTION))
    return _scaled(region, rw, value, count, gamma, beta)


def _scaled(
    region: Region, rw: Rewriter, value: ir.Value, count: int, gamma: FloatArray, beta: FloatArray
) -> ir.Value:
    """``γ·value + β`` as codes; no normalized value of n exceeds √n."""
    bound = np.asarray((math.isqrt(count) + 1) * 2 ** (FRACTION + 1), np.int64)
    term = Term(gamma / (region.scale * 2.0**FRACTION), -bound, bound)
    fixed = region.fixed_point([term], constant=beta / region.scale)
    return requantize(rw, [value], fixed, region)


def _unit(x: Operand, count: int) -> int:
    """By how much distances from the mean are too large: n, or a power of two where that is too much."""
    free = WORD - 4 - (count * (x.levels - 1) ** 2).bit_length()
    return count if count**2 < 2**free else 1 << max(free // 2, 0)


def _distance(work: Arithmetic, x: Operand, axes: Sequence[int], count: int, unit: int | None) -> ir.Value:
    """``unit·(q − mean)`` as int64, or ``q − z`` without a unit."""
    wide = cast(work.rw, x.codes, INT64)
    if unit is None:
        return work.op("Sub", wide, x.zero_point)
    total = reduce_axes(work.rw, "ReduceSum", wide, axes)
    if unit != count:
        total = work.op("Div", work.op("Mul", total, unit), count)
    return work.op("Sub", work.op("Mul", wide, unit), total)


def element_count(x: Operand, axes: Sequence[int]) -> int:
    """The number of elements over which is normalized.

    Raises:
        Refused: there is none, or it is not known.
    """
    lengths = [_shape(x)[axis] for axis in axes]
    known = [length for length in lengths if isinstance(length, int)]
    if not lengths or len(known) < len(lengths):
        raise Refused("the length of a normalized axis is not known; fix the shapes")
    return math.prod(known)


def _shape(x: Operand) -> ir.Shape:
    if x.codes.shape is None:
        raise Refused("the rank of its input is not known; run shape inference")
    return x.codes.shape


def _parameters(region: Region) -> tuple[FloatArray, FloatArray]:
    """γ and β.

    Raises:
        Refused: they are not constant, or mean or deviation are outputs too.
    """
    if any(value.name and value.uses() for value in region.node.outputs[1:]):
        raise Refused("its mean or deviation is read as well")
    gamma = region.constant(1) if region.has(1) else np.ones(())
    beta = region.constant(2) if region.has(2) else np.zeros(())
    if gamma is None or beta is None:
        raise Refused("its scale or bias is not constant")
    return gamma, beta
