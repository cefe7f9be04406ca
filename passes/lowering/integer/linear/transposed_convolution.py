"""ConvTranspose on codes: a Conv over the input with zeros between its elements.

       y = ConvTranspose(x, W; stride s, pads p)
    => y = Conv(x with s − 1 zeros behind each element, W turned round; stride 1, pads (k − 1)·d − p)

Zero is the code z_x. Inserting is Unsqueeze, Pad and Reshape; W of shape [C_in, C_out/g, k …] swaps its
channels within each group and turns its spatial axes round.
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import spatial_shape, static_shape
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.words import cast
from onnxq.passes.lowering.integer.linear.convolution import convolve, zero_point
from onnxq.passes.lowering.integer.linear.weight import Weight, read_weight
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region

__all__ = ["lower_conv_transpose"]


def lower_conv_transpose(region: Region, rw: Rewriter) -> ir.Value:
    """ConvTranspose of any rank, groups, dilations and padding; an output_shape needs known lengths."""
    attributes = region.node.attributes
    x, group = region.activation(0), attributes.get_int("group", 1)
    weight = read_weight(region.operand(1), 1)
    kernel = weight.codes.shape[2:]
    axes = len(kernel)
    strides, dilations = (list(attributes.get_ints(k, [1] * axes)) for k in ("strides", "dilations"))
    extra = list(attributes.get_ints("output_padding", [0] * axes))
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    before, after = _pads(region, reach, strides, extra)
    left = [r - p for r, p in zip(reach, before, strict=True)]
    right = [r - p + e for r, p, e in zip(reach, after, extra, strict=True)]
    if any(s > 1 for s in strides):
        x = replace(x, codes=_spread(rw, x, strides))
        right = [r - (s - 1) for r, s in zip(right, strides, strict=True)]
    if min(*left, *right) < 0:
        x = replace(x, codes=_cropped(rw, x.codes, left, right))
    pads = [max(p, 0) for p in (*left, *right)]
    return convolve(
        region, rw, x, _turned(weight, group), {"group": group, "dilations": dilations, "pads": pads}
    )


def _pads(
    region: Region, reach: list[int], strides: list[int], extra: list[int]
) -> tuple[list[int], list[int]]:
    """What is cut off the full result, at each end of each axis."""
    auto = region.node.attributes.get_string("auto_pad", "NOTSET")
    wanted = region.node.attributes.get_ints("output_shape", ())
    axes = len(reach)
    given = list(region.node.attributes.get_ints("pads", [0] * 2 * axes))
    if not wanted and not auto.startswith("SAME"):
        return given[:axes], given[axes:]
    if wanted:
        sizes = spatial_shape(region.node.inputs[0])
        if sizes is None:
            raise Refused("it has an output_shape and its input no known height and width; fix the shapes")
        lengths = zip(sizes, reach, strides, extra, list(wanted)[-axes:], strict=True)
        total = [(n - 1) * s + r + 1 + e - length for n, r, s, e, length in lengths]
        if min(total) < 0:
            raise Refused("its output_shape is larger than what it computes; give output_padding")
    else:
        total = [max(r + 1 + e - s, 0) for r, e, s in zip(reach, extra, strides, strict=True)]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def _turned(weight: Weight, group: int) -> Weight:
    """[C_in, C_out/g, k …] as [C_out, C_in/g, k …] with the spatial axes turned round."""
    inputs, outputs, *kernel = weight.codes.shape
    grouped = weight.codes.reshape(group, inputs // group, outputs, *kernel).swapaxes(1, 2)
    codes = np.flip(
        grouped.reshape(group * outputs, inputs // group, *kernel), tuple(range(2, 2 + len(kernel)))
    )
    scale = np.tile(weight.scale, group) if weight.scale.ndim else weight.scale
    return replace(weight, codes=codes, scale=scale)


def _spread(rw: Rewriter, x: Operand, strides: list[int]) -> ir.Value:
    """``stride − 1`` zeros behind each element: [N, C, H, W] becomes [N, C, H·s, W·s]."""
    name, dtype = x.codes.name or "codes", ir.DataType.INT32 if x.wide else x.codes.dtype
    codes, zero = x.codes, zero_point(rw, x)
    if x.wide:  # ONNX Runtime pads no 16-bit integers
        codes = cast(rw, codes, ir.DataType.INT32)
        zero = rw.const(np.asarray(x.zero_point, np.int32), f"{name}_zero_point")
    axes = np.arange(3, 3 + 2 * len(strides), 2)
    wide = rw.op("Unsqueeze", [codes, rw.const(axes, f"{name}_axes")], dtype=dtype)
    after = [0, 0, *(end for stride in strides for end in (0, stride - 1))]
    pads = rw.const(np.asarray([0] * len(after) + after, np.int64), f"{name}_gaps")
    padded = rw.op("Pad", [wide, pads, zero], dtype=dtype)
    sizes = static_shape(x.codes)
    factors = np.asarray([1, 1, *strides], np.int64)
    if sizes is not None:
        shape = rw.const(np.asarray(sizes, np.int64) * factors, f"{name}_spread")
    else:
        now = rw.op("Shape", [x.codes], dtype=ir.DataType.INT64)
        shape = rw.op("Mul", [now, rw.const(factors, f"{name}_strides")], dtype=ir.DataType.INT64)
    spread = rw.op("Reshape", [padded, shape], dtype=dtype)
    return cast(rw, spread, x.qparams.format.ir_dtype)


def _cropped(rw: Rewriter, codes: ir.Value, left: list[int], right: list[int]) -> ir.Value:
    """Without the elements that negative padding takes away."""
    starts = np.asarray([max(-p, 0) for p in left], np.int64)
    ends = np.asarray([p if p < 0 else np.iinfo(np.int64).max for p in right], np.int64)
    axes = np.arange(2, 2 + len(left))
    inputs = [rw.const(a, f"crop_{n}") for n, a in (("starts", starts), ("ends", ends), ("axes", axes))]
    return rw.op("Slice", [codes, *inputs], dtype=codes.dtype)
