"""Convolutions of narrow images as convolutions of one row.

Before it multiplies, ONNX Runtime copies every row of an image once for each element of the window. Short
rows cost it more than the product. So the image becomes one row of H·W numbers, k_w times, each moved by one
column of the window, and the rows of the window lie W apart in it:

    row_r[i] = x[i + r − p]                              r = 0 … k_w − 1, p the padding on the left
    y[i] = Σ_{r, j} w[j, r] · row_r[i + (j − p_top)·W]   the same sums

What would come from another row of the image is z_x. Nothing needs to be moved: p times z_x, the k_w rows of
H·W numbers, and k_w − p times z_x, read as k_w rows of H·W + 1, are the moved rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering.integer.linear.weight import Weight
from onnxq.passes.lowering.integer.operand import Operand

__all__ = ["OneRow", "integers", "one_row"]

WIDEST = 56
"""Longer rows are copied fast enough."""

FEWEST = 4096
"""Fewer copies of rows take no longer than the nodes that save them."""


@dataclass(frozen=True)
class OneRow:
    """An image, and a window whose padding gives a result of the same size: rows first, then columns."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def length(self) -> int:
        """Of the one row."""
        return self.size[0] * self.size[1]

    @property
    def attributes(self) -> dict[str, AttributeValue]:
        """Those of a ConvInteger over the moved rows."""
        width = self.size[1]
        pads = [0, self.before[0] * width, 0, self.after[0] * width - 1]
        return {"kernel_shape": self.kernel[::-1], "dilations": [1, width], "pads": pads}

    def weight(self, weight: Weight) -> Weight:
        """With the window turned: [C_out, C_in/groups, k_w, k_h]."""
        return replace(weight, codes=weight.codes.swapaxes(2, 3))

    def moved(self, rw: Rewriter, x: Operand, zero_point: ir.Value) -> Operand:
        """Prepare the moved rows [N, C, k_w, H·W + 1] of an image [N, C, H, W]."""
        count, left, name = self.kernel[1], self.before[1], x.codes.name or "codes"
        codes = _reshaped(rw, x.codes, 1, self.length)
        fmt, inside = x.qparams.format, self._inside()
        for op, end in (("Min", fmt.qmax), ("Max", fmt.qmin)):
            if end != x.zero_point:
                ends = np.where(inside, end, x.zero_point).astype(fmt.dtype)
                inputs, shape = [codes, rw.const(ends, f"{name}_sides")], _shape(codes, count, self.length)
                codes = rw.op(op, inputs, dtype=codes.dtype, shape=shape)
        codes = _reshaped(rw, codes, count * self.length)
        pads = rw.const(np.asarray([0, 0, left, 0, 0, count - left], np.int64), f"{name}_pads")
        shape = _shape(codes, count * (self.length + 1))
        codes = rw.op("Pad", [codes, pads, zero_point], dtype=codes.dtype, shape=shape)
        return replace(x, codes=_reshaped(rw, codes, count, self.length + 1))

    def shape(self, x: ir.Value, weight: Weight) -> ir.Shape:
        """That of the result before it is an image again."""
        return ir.Shape([_shape(x)[0], len(weight.codes), 1, self.length])

    def image(self, rw: Rewriter, row: ir.Value) -> ir.Value:
        """Prepare the image that a result [N, C, 1, H·W] is."""
        return _reshaped(rw, row, *self.size)

    def _inside(self) -> np.ndarray:
        """Which elements of each row, before it moves, have a neighbour in their own row of the image."""
        steps = np.arange(self.kernel[1]) - self.before[1]
        column = np.arange(self.length) % self.size[1] - steps[:, None]
        return (column >= 0) & (column < self.size[1])


def one_row(x: Operand, weight: Weight, attributes: Mapping[str, AttributeValue]) -> OneRow | None:
    """How to convolve ``x`` as one row; None where rows are long or few, or the result has another size."""
    sizes = [] if x.codes.shape is None else [n for n in x.codes.shape[1:] if isinstance(n, int)]
    kernel, pads = weight.codes.shape[2:], integers(attributes, "pads")
    if len(sizes) != 3 or len(kernel) != 2 or len(pads) != 4:
        return None
    channels, *size = sizes
    if size[1] > WIDEST or channels * size[0] * kernel[0] * kernel[1] < FEWEST:
        return None
    if {1, *integers(attributes, "strides"), *integers(attributes, "dilations")} != {1}:
        return None
    found = OneRow((size[0], size[1]), (kernel[0], kernel[1]), (pads[0], pads[1]), (pads[2], pads[3]))
    same = all(p + q == k - 1 for p, q, k in zip(found.before, found.after, kernel, strict=True))
    return found if same and kernel[1] > 1 and found.after[0] else None


def integers(attributes: Mapping[str, AttributeValue], name: str) -> list[int]:
    """An attribute that is a list of numbers; empty where it is not given."""
    given = attributes.get(name)
    if isinstance(given, ir.Attr):
        return list(given.as_ints())
    return [int(n) for n in given] if isinstance(given, Sequence) else []


def _reshaped(rw: Rewriter, value: ir.Value, *dims: int) -> ir.Value:
    """Prepare a Reshape of all but the batch and the channels."""
    target = rw.const(np.asarray([0, 0, *dims], np.int64), f"{value.name or 'codes'}_shape")
    return rw.op("Reshape", [value, target], dtype=value.dtype, shape=_shape(value, *dims))


def _shape(value: ir.Value, *dims: int) -> ir.Shape:
    assert value.shape is not None, "images have shapes"
    return ir.Shape([*value.shape[:2], *dims])
