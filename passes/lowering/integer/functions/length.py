"""Euclidean lengths: ReduceL2, and LpNormalization with p = 2.

ReduceL2           v = Σd²·4^p,  y = clamp(z_y + s_x/s_y·2^-p·√v)          d = q − z_x
LpNormalization    x/√(Σx²) = 1/√n · RMSNormalization(x) with epsilon 0; a row of zeros gives zeros
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.reduction import reduce_axes
from onnxq.passes.lowering.integer.emit.requantize import cast, requantize
from onnxq.passes.lowering.integer.emit.square_root import square_root
from onnxq.passes.lowering.integer.functions.normalization import WORD, element_count, normalize
from onnxq.passes.lowering.integer.int32.length import length_small
from onnxq.passes.lowering.integer.linear.product import centered
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["lower_length", "lower_lp_normalization"]

INT64 = ir.DataType.INT64


def lower_lp_normalization(region: Region, rw: Rewriter) -> ir.Value:
    """LpNormalization along one axis of known length.

    Raises:
        Refused: p is 1.
    """
    if region.node.attributes.get_int("p", 2) != 2:
        raise Refused("it divides by the sum of absolute values; only p = 2 has an integer rule")
    x = region.activation(0)
    axes = [region.node.attributes.get_int("axis", -1) % _rank(x)]
    gain = np.asarray(1 / np.sqrt(element_count(x, axes)))
    return normalize(region, rw, x, axes, gain, np.zeros(()), centered=False, epsilon=0.0)


def lower_length(region: Region, rw: Rewriter) -> ir.Value:
    """ReduceL2 over axes of known length.

    Raises:
        Refused: the axes are computed, or sums of squares need more than 64 bits.
    """
    x, node = region.activation(0), region.node
    given = get_input(node, 1)
    array = constant(given)
    axes = node.attributes.get_ints("axes", ()) if given is None else () if array is None else array.tolist()
    if not axes:
        raise Refused("its axes are not known beforehand")
    axes = sorted(int(axis) % _rank(x) for axis in axes)
    if region.profile.dialect == Dialect.INT32:
        return length_small(region, rw, x, axes, element_count(x, axes))
    reach = element_count(x, axes) * max(x.high, -x.low) ** 2
    power = (WORD - reach.bit_length()) // 2
    if power < 8:
        raise Refused("its sums of squares need more than 64 bits: too many elements")
    work = Arithmetic(rw, region.result.name or "length", INT64)
    distance = cast(rw, centered(rw, x), INT64)
    squares = reduce_axes(rw, "ReduceSum", work.op("Mul", distance, distance), axes)
    root = square_root(work, work.op("Add", work.op("Mul", squares, 4**power), 1))
    if not node.attributes.get_int("keepdims", 1):
        root = rw.op("Squeeze", [root, work.array(np.asarray(axes))], like=region.result, dtype=INT64)
    bound = np.asarray(1 << (reach.bit_length() // 2 + power + 1), np.int64)
    term = Term(np.asarray(x.scale / (region.scale * 2.0**power)), np.zeros((), np.int64), bound)
    fixed = region.fixed_point([term])
    return requantize(rw, [root], fixed, region)


def _rank(x: Operand) -> int:
    if x.codes.shape is None:
        raise Refused("the rank of its input is not known; run shape inference")
    return len(x.codes.shape)
