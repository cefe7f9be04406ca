"""AveragePool as a convolution with ones, the division being in the multiplier.

    acc = ConvInteger(x, ones, z_x), one group a channel        y = clamp(z_y + s_x/(s_y·n) · acc)

n is the number of elements in the window. Where padding does not count, n differs at the borders and the
multiplier becomes a map over the output.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import spatial_shape
from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.linear.convolution import conv_integer
from onnxq.passes.lowering.integer.linear.weight import Weight
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term, prove_int32

__all__ = ["Window", "lower_average_pool"]


def lower_average_pool(region: Region, rw: Rewriter) -> ir.Value:
    """AveragePool; padding that does not count, and ceil_mode, need a known height and width."""
    x, attributes = region.activation(0), region.node.attributes
    kernel = list(attributes.get_ints("kernel_shape", []))
    channels = None if x.codes.shape is None else x.codes.shape[1]
    if not isinstance(channels, int):
        raise Refused("the number of its channels is not known; fix the shapes")
    taps = math.prod(kernel)
    counts, padding = _windows(region.node, kernel) or (np.asarray(taps, np.int64), {})
    if counts.ndim and region.result.shape is not None:  # onnx counts windows that begin in the padding
        shape = ir.Shape([*region.result.shape[:2], *counts.shape])
        rw.set_type(region.result, region.output.format.ir_dtype, shape)
    ends = [np.asarray(taps * end, np.int64) for end in (x.low, x.high)]
    if not x.wide:
        prove_int32(ends[0], ends[1], region.where, region.profile.accumulator_bits)
    fixed = region.fixed_point([Term(x.scale / (region.scale * counts), ends[0], ends[1])])
    ones = Weight(np.ones((channels, 1, *kernel), np.int64), 0, np.ones(()), f"{region.result.name}_ones")
    copied = {k: v for k, v in attributes.items() if k not in ("count_include_pad", "ceil_mode")}
    acc = conv_integer(region, rw, x, ones, {**copied, "group": channels, **padding})
    return requantize(rw, [acc], fixed, region)


def _windows(node: ir.Node, kernel: list[int]) -> tuple[IntArray, dict[str, AttributeValue]] | None:
    """What each window averages, as a map over the spatial axes of the output, and the padding to compute it.

    None where every window averages as many elements as the kernel has, padded as the operator says.
    """
    attributes, axes = node.attributes, len(kernel)
    auto, ceil = attributes.get_string("auto_pad", "NOTSET"), attributes.get_int("ceil_mode", 0) != 0
    pads = list(attributes.get_ints("pads", [0] * 2 * axes))
    padded = auto.startswith("SAME") or (auto == "NOTSET" and any(pads))
    pads_count = attributes.get_int("count_include_pad", 0) != 0
    if not ceil and (pads_count or not padded):
        return None
    sizes = spatial_shape(node.inputs[0])
    if sizes is None:
        raise Refused("its padding does not count, or ceil_mode lengthens it: fix its height and width")
    strides, dilations = (list(attributes.get_ints(k, [1] * axes)) for k in ("strides", "dilations"))
    counts: IntArray = np.ones((), np.int64)
    ends: list[tuple[int, int]] = []
    for i, size in enumerate(sizes):
        window = Window(size, kernel[i], strides[i], dilations[i])
        before, after = (pads[i], pads[i + axes]) if auto == "NOTSET" else window.automatic(auto)
        count = window.counts(before, after, ceil=ceil, pads_count=pads_count)
        ends.append((before, window.missing(before, len(count))))
        counts = counts[..., None] * count
    explicit = [end[side] for side in (0, 1) for end in ends]
    return counts, {"pads": explicit, "auto_pad": None}


@dataclass(frozen=True)
class Window:
    """A window that moves along one axis."""

    size: int
    kernel: int
    stride: int
    dilation: int

    @property
    def reach(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    def automatic(self, auto: str) -> tuple[int, int]:
        """The padding of auto_pad."""
        if not auto.startswith("SAME"):
            return 0, 0
        total = max((-(-self.size // self.stride) - 1) * self.stride + self.reach - self.size, 0)
        small = total // 2
        return (small, total - small) if auto == "SAME_UPPER" else (total - small, small)

    def places(self, before: int, after: int, *, ceil: bool) -> int:
        """How often it fits; no window begins in the padding behind."""
        room = self.size + before + after - self.reach
        places = (-(-room // self.stride) if ceil else room // self.stride) + 1
        return places - 1 if ceil and (places - 1) * self.stride >= self.size + before else places

    def counts(self, before: int, after: int, *, ceil: bool, pads_count: bool) -> IntArray:
        """How many elements count at each place."""
        at = np.arange(self.places(before, after, ceil=ceil)) * self.stride - before
        ends = (-before, self.size + after) if pads_count else (0, self.size)
        low, high = (np.clip(-((at - end) // self.dilation), 0, self.kernel) for end in ends)
        inside: IntArray = high - low
        return inside

    def missing(self, before: int, places: int) -> int:
        """The padding behind that gives so many places."""
        return max((places - 1) * self.stride + self.reach - self.size - before, 0)
