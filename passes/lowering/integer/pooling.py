"""AveragePool as a convolution with ones, the division being in the multiplier.

    acc = ConvInteger(x, ones, z_x), one group a channel        y = clamp(z_y + s_x/(s_y·n) · acc)

n is the number of elements in the window. Where padding does not count, n differs at the borders and the
multiplier becomes a map over the output.
"""

import math

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import static_shape
from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.convolution import zero_point
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.requantize import requantize
from onnxq.quant.fixed_point import Term, fixed_point, prove_int32

__all__ = ["lower_average_pool"]


def lower_average_pool(region: Region, rw: Rewriter) -> ir.Value:
    """AveragePool; padding that does not count, and ceil_mode, need static shapes."""
    x, attributes = region.activation(0), region.node.attributes
    kernel = list(attributes.get_ints("kernel_shape", []))
    channels = None if x.codes.shape is None else x.codes.shape[1]
    if not isinstance(channels, int):
        raise Refused("the number of its channels is not known; fix the shapes")
    counts = _counts(region, kernel)
    taps = math.prod(kernel)
    ends = [np.asarray(taps * end, np.int64) for end in (x.low, x.high)]
    prove_int32(ends[0], ends[1], region.where)
    fixed = fixed_point(
        [Term(x.scale / (region.scale * counts), ends[0], ends[1])],
        region.zero_point,
        region.low,
        region.high,
        where=region.where,
    )
    ones = rw.const(np.ones((channels, 1, *kernel), np.uint8), f"{region.result.name}_ones")
    none = rw.const(np.zeros((), np.uint8), f"{region.result.name}_ones_zero_point")
    copied = {k: v for k, v in attributes.items() if k not in ("count_include_pad", "ceil_mode")}
    acc = rw.op(
        "ConvInteger",
        [x.codes, ones, zero_point(rw, x), none],
        {**copied, "group": channels},
        like=region.result,
        dtype=ir.DataType.INT32,
    )
    return requantize(rw, [acc], fixed, region)


def _counts(region: Region, kernel: list[int]) -> IntArray:
    """Elements that each window averages: one number, or a map over the spatial axes of the output."""
    node, attributes = region.node, region.node.attributes
    axes = len(kernel)
    taps = np.asarray(math.prod(kernel), np.int64)
    auto = attributes.get_string("auto_pad", "NOTSET")
    pads = list(attributes.get_ints("pads", [0] * 2 * axes))
    padded = auto.startswith("SAME") or (auto == "NOTSET" and any(pads))
    pads_count = attributes.get_int("count_include_pad", 0) != 0
    if attributes.get_int("ceil_mode", 0) == 0 and (pads_count or not padded):
        return taps
    sizes, outputs = (static_shape(value) for value in (node.inputs[0], node.outputs[0]))
    if sizes is None or outputs is None:
        raise Refused("its padding does not count, so it needs static shapes")
    strides, dilations = (list(attributes.get_ints(k, [1] * axes)) for k in ("strides", "dilations"))
    counts: IntArray = np.ones((), np.int64)
    for i, (size, output) in enumerate(zip(sizes[2:], outputs[2:], strict=True)):
        reach = (kernel[i] - 1) * dilations[i] + 1
        total = max((output - 1) * strides[i] + reach - size, 0)
        before, after = pads[i], pads[i + axes]
        if auto.startswith("SAME"):
            before = total // 2 if auto == "SAME_UPPER" else total - total // 2
        elif total > before + after:
            raise Refused("its ceil_mode lets a window hang over the padding; there is no rule for that")
        taps_at = np.arange(output)[:, None] * strides[i] - before + np.arange(kernel[i]) * dilations[i]
        counts = counts[..., None] * ((taps_at >= 0) & (taps_at < size)).sum(axis=1)
    return taps if pads_count else counts
