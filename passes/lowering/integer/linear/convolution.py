"""Conv on codes.

    acc = ConvInteger(x, w, z_x, z_w) = Σ (x − z_x)·(w − z_w)
    y = clamp(z_y + s_x·s_w[c]/s_y · (acc + b[c]))

Padding inserts z_x, that is, zero. Weights are uint8 (int8 ones move by 128, and so does their zero point):
ONNX Runtime has a fast kernel for those only, and before 1.24 none for int8. The fast kernel wants int8
codes, depthwise convolutions in larger groups, and long rows. IREE compiles no ConvInteger that pads more
behind than in front, nor one of a single axis, so the int32 dialect pads with a Pad of z_x and gives such a
one a second axis of length 1.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.linear.grouping import regrouped
from onnxq.passes.lowering.integer.linear.halves import Sum, combined, halves
from onnxq.passes.lowering.integer.linear.one_row import integers, one_row
from onnxq.passes.lowering.integer.linear.weight import Weight, read_weight
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.retyped import retyped
from onnxq.quant.bias import BIAS_LIMIT
from onnxq.quant.fixed_point import Rounding, Term, prove_int32

__all__ = ["accumulator_term", "conv_integer", "convolve", "lower_conv", "zero_point"]

UINT8 = ir.DataType.UINT8

FLOAT32_ERROR = 2.0**-22
"""A bias of so many parts beside its grid comes from codes that float32 has rounded."""


def lower_conv(region: Region, rw: Rewriter) -> ir.Value:
    """Conv of any rank, groups, dilations and padding."""
    x, weight = region.activation(0), read_weight(region.operand(1), 0)
    return convolve(region, rw, x, weight, region.node.attributes)


def convolve(
    region: Region, rw: Rewriter, x: Operand, weight: Weight, attributes: Mapping[str, AttributeValue]
) -> ir.Value:
    """Convolve codes with a weight of shape [C_out, C_in/groups, …], add the bias, and rescale."""
    spatial = weight.codes.ndim - 2
    per_channel = (-1, *[1] * spatial)
    scale = weight.scale.reshape(per_channel) if weight.scale.ndim else weight.scale
    low, high = (b.reshape(per_channel) for b in weight.bounds(x, tuple(range(1, weight.codes.ndim))))
    bias = np.zeros(()) if region.bias is None else region.bias
    if region.has(2):
        own = region.constant(2)
        if own is None:
            raise Refused("its bias is not constant")
        bias = bias + own.reshape(per_channel)
    term, rest = accumulator_term(region, x.scale * scale, low, high, bias, wide=x.wide)
    fixed = region.fixed_point([term], constant=rest)
    acc = conv_integer(region, rw, x, weight, attributes)
    return requantize(rw, [acc], fixed, region)


def conv_integer(
    region: Region, rw: Rewriter, x: Operand, weight: Weight, attributes: Mapping[str, AttributeValue]
) -> ir.Value:
    """Prepare ``Σ (x − z_x)·(w − z_w)``, of the result's shape, in types and groups of the dialect."""
    profile = region.profile
    if x.wide:
        return _over_halves(region, rw, x, weight, attributes)
    if profile.dialect == Dialect.FAST:
        given = attributes.get("group", 1)
        group = given.as_int() if isinstance(given, ir.Attr) else given
        assert isinstance(group, int), "a group is a number"
        codes, group = regrouped(weight.codes, weight.zero_point, group)
        weight, attributes = replace(weight, codes=codes), {**attributes, "group": group}
        if (row := one_row(x, weight, attributes)) is not None:
            moved, length = row.moved(rw, x, zero_point(rw, x)), row.shape(x.codes, weight)
            acc = _product(rw, moved, row.weight(weight), {**attributes, **row.attributes}, length)
            return row.image(rw, acc)
    if profile.dialect == Dialect.PORTABLE:
        x = retyped(rw, x, UINT8, profile)
    if profile.dialect == Dialect.INT32 and weight.codes.ndim == 3:
        return _with_second_axis(region, rw, x, weight, attributes)
    if profile.dialect == Dialect.INT32:
        x, attributes = _padded_evenly(rw, x, attributes)
    shape = None if region.result.shape is None else region.result.shape.copy()
    return _product(rw, x, weight, attributes, shape)


def _with_second_axis(
    region: Region, rw: Rewriter, x: Operand, weight: Weight, attributes: Mapping[str, AttributeValue]
) -> ir.Value:
    """A convolution over one axis as one over two, the first of length 1."""
    axis = rw.const(np.asarray([2], np.int64), "second_axis")
    codes = rw.op("Unsqueeze", [x.codes, axis], dtype=x.codes.dtype, shape=_of_two_axes(x.codes))
    x, weight = replace(x, codes=codes), replace(weight, codes=weight.codes[:, :, None])
    longer: dict[str, AttributeValue] = dict(attributes)
    for name in ("kernel_shape", "strides", "dilations"):
        if given := integers(attributes, name):
            longer[name] = [1, *given]
    if pads := integers(attributes, "pads"):
        longer["pads"] = [0, pads[0], 0, pads[1]]
    x, even = _padded_evenly(rw, x, longer)
    acc = _product(rw, x, weight, even, _of_two_axes(region.result))
    return rw.op("Squeeze", [acc, axis], like=region.result, dtype=ir.DataType.INT32)


def _of_two_axes(value: ir.Value) -> ir.Shape | None:
    return None if value.shape is None else ir.Shape([*value.shape[:2], 1, *value.shape[2:]])


def _product(
    rw: Rewriter,
    x: Operand,
    weight: Weight,
    attributes: Mapping[str, AttributeValue],
    shape: ir.Shape | None,
) -> ir.Value:
    w, w_zero = weight.constants(rw, UINT8)
    inputs = [x.codes, w, zero_point(rw, x), w_zero]
    return rw.op("ConvInteger", inputs, attributes, dtype=ir.DataType.INT32, shape=shape)


def _padded_evenly(
    rw: Rewriter, x: Operand, attributes: Mapping[str, AttributeValue]
) -> tuple[Operand, Mapping[str, AttributeValue]]:
    """The operand with padding of its own, where that differs between the two ends of an axis."""
    pads = integers(attributes, "pads")
    front, behind = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if front == behind:
        return x, attributes
    widths = rw.const(np.asarray([0, 0, *front, 0, 0, *behind], np.int64), f"{x.codes.name or 'codes'}_pads")
    codes = rw.op("Pad", [x.codes, widths, zero_point(rw, x)], dtype=x.codes.dtype)
    return replace(x, codes=codes), {**attributes, "pads": None}


def _over_halves(
    region: Region, rw: Rewriter, x: Operand, weight: Weight, attributes: Mapping[str, AttributeValue]
) -> ir.Value:
    """The same for codes of 16 bits, in words as wide as it takes."""
    axes, sums = tuple(range(1, weight.codes.ndim)), []
    for part in halves(region, rw, x):
        low, high = (bound.reshape(-1, *[1] * len(axes[1:])) for bound in weight.bounds(part.operand, axes))
        own = part.operand
        if region.profile.dialect == Dialect.FAST:
            own = retyped(rw, own, ir.DataType.INT8, region.profile)
        sums.append(Sum(conv_integer(region, rw, own, weight, attributes), part.factor, low, high))
    return combined(region, rw, sums)


def accumulator_term(
    region: Region, scale: FloatArray, low: IntArray, high: IntArray, bias: FloatArray, *, wide: bool = False
) -> tuple[Term, FloatArray | None]:
    """An int32 accumulator, or a ``wide`` one, worth ``scale`` a unit, a real bias added, and the rest of it.

        bias = bits·scale + rest·s_y,    bits = round(bias/scale)

    The rest, in output codes, goes into the constant of the fixed point: so a float bias loses nothing. It is
    None where there is none, as with a bias that is int32 at this scale; TFLite's kernels know none.

    Raises:
        PassError: accumulator and bias can leave int32.
    """
    exact = bias / scale
    if region.profile.rounding == Rounding.TFLITE:
        bits = np.clip(np.rint(exact), -(2.0**62), 2.0**62).astype(np.int64)
        return _proven(region, scale, low, high, bits, wide), None
    grid = np.clip(np.rint(exact), -BIAS_LIMIT, BIAS_LIMIT)
    rest = np.where(np.abs(exact - grid) <= np.abs(grid) * FLOAT32_ERROR, 0.0, (exact - grid) * scale)
    term = _proven(region, scale, low, high, grid.astype(np.int64), wide)
    return term, rest / region.scale if rest.any() else None


def _proven(
    region: Region, scale: FloatArray, low: IntArray, high: IntArray, bits: IntArray, wide: bool
) -> Term:
    if not wide:
        prove_int32(low, high, region.where, region.profile.accumulator_bits)
        prove_int32(np.minimum(low, low + bits), np.maximum(high, high + bits), region.where)
    return Term(scale / region.scale, low, high, bits)


def zero_point(rw: Rewriter, operand: Operand) -> ir.Value:
    """The operand's zero point as a constant of its own type."""
    array = np.asarray(operand.zero_point, operand.qparams.format.dtype)
    return rw.const(array, f"{operand.codes.name or 'codes'}_zero_point")
