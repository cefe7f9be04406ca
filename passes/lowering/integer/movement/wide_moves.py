"""Operators that move or choose codes of 16 bits, where ONNX Runtime has no kernel for these.

    Pad, Resize, ReduceMax, ReduceMin      on int32
    MaxPool                                Max of slices of int32, one axis after the other
    DepthToSpace, SpaceToDepth             Reshape, Transpose, Reshape

The others move any type. Of 8 bits there is a kernel for MaxPool, but slices take it a tenth of the time.
"""

import math

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op, spatial_shape
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering.integer.linear.pooling import Window
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.profile import Dialect

__all__ = ["THROUGH_INT32", "is_sliced", "max_pool", "shuffled"]

FEWEST = 8192
"""Fewer comparisons take no longer than the nodes that save them."""

MOST_SLICES = 256
"""Of one MaxPool: a window as long as a file declares would fill the memory with nodes."""

THROUGH_INT32 = ("GlobalMaxPool", "MaxPool", "Pad", "ReduceMax", "ReduceMin", "Resize")


def explicit_pads(node: ir.Node) -> dict[str, AttributeValue]:
    """The attributes of a MaxPool with automatic padding as numbers, if its height and width are known.

    onnx.reference takes SAME_LOWER for less than it is.
    """
    automatic = node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME")
    if not automatic or spatial_shape(node.inputs[0]) is None:
        return {}
    return {"pads": _pads(node), "auto_pad": None}


def max_pool(node: ir.Node, codes: ir.Value, lowest: int, rw: Rewriter) -> ir.Value:
    """MaxPool as ``max_i x[i·d :: s]`` axis by axis; padding is the lowest code.

    Along the last axis ``(max_i x[i·d :])[:: s]``, since single elements are copied slowly.

    Raises:
        Refused: its padding depends on shapes that are not static, or its window is too long.
    """
    kernel = list(node.attributes.get_ints("kernel_shape", []))
    if sum(kernel) > MOST_SLICES:
        raise Refused(f"its window {kernel} is longer than {MOST_SLICES} slices; give it 8 bits")
    axes = len(kernel)
    strides, dilations = (list(node.attributes.get_ints(k, [1] * axes)) for k in ("strides", "dilations"))
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(node)
    name, dtype = node.outputs[0].name or "pool", codes.dtype
    assert dtype is not None, "codes have a type"
    if any(pads):
        ends = [0, 0, *pads[:axes], 0, 0, *pads[axes:]]
        fill = rw.const(np.asarray(lowest, dtype.numpy()), f"{name}_lowest")
        codes = rw.op("Pad", [codes, rw.const(np.asarray(ends, np.int64), f"{name}_pads"), fill], dtype=dtype)
    for axis in range(axes):
        places = [i * dilations[axis] for i in range(kernel[axis])]
        step = 1 if axis == axes - 1 else strides[axis]
        slices = [_slice(rw, codes, axis + 2, at, at - reach[axis], step) for at in places]
        codes = rw.op("Max", slices, dtype=dtype) if len(slices) > 1 else slices[0]
    if strides[-1] > 1:
        codes = _slice(rw, codes, axes + 1, 0, 0, strides[-1])
    codes.shape = node.outputs[0].shape
    return codes


def is_sliced(node: ir.Node, dialect: Dialect | None) -> bool:
    """Whether slices take the place of a MaxPool of 8 bits: it is plain and large, and Max has a kernel."""
    attributes, shape = node.attributes, node.outputs[0].shape
    plain = attributes.get_string("auto_pad", "NOTSET") == "NOTSET" and not attributes.get_int("ceil_mode", 0)
    sizes = [] if shape is None else [n for n in shape[1:] if isinstance(n, int)]
    known = shape is not None and len(sizes) == len(shape) - 1
    kernel = attributes.get_ints("kernel_shape", [])
    pays = math.prod([*sizes, *kernel]) >= FEWEST and sum(kernel) <= MOST_SLICES
    return dialect == Dialect.FAST and plain and known and pays


def _slice(rw: Rewriter, value: ir.Value, axis: int, start: int, end: int, step: int) -> ir.Value:
    """``value[start : end : step]`` along one axis; an end of 0 is the end of the axis."""
    if (start, end, step) == (0, 0, 1):
        return value
    numbers = [start, end or np.iinfo(np.int64).max, axis, step]
    inputs = [rw.const(np.asarray([n], np.int64), f"{value.name or 'pool'}_slice") for n in numbers]
    return rw.op("Slice", [value, *inputs], dtype=value.dtype)


def _pads(node: ir.Node) -> list[int]:
    """Padding in front of and behind each axis, automatic padding and ceil_mode worked in."""
    attributes, kernel = node.attributes, list(node.attributes.get_ints("kernel_shape", []))
    axes = len(kernel)
    auto, pads = (
        attributes.get_string("auto_pad", "NOTSET"),
        list(attributes.get_ints("pads", [0] * 2 * axes)),
    )
    ceil = auto == "NOTSET" and attributes.get_int("ceil_mode", 0) != 0
    if auto == "VALID" or (auto == "NOTSET" and not ceil):
        return pads if auto == "NOTSET" else [0] * 2 * axes
    sizes = spatial_shape(node.inputs[0])
    if sizes is None:
        raise Refused("its padding follows from its height and width, which are not known; fix the shapes")
    strides, dilations = (list(attributes.get_ints(k, [1] * axes)) for k in ("strides", "dilations"))
    ends: list[tuple[int, int]] = []
    for i, window in enumerate(map(Window, sizes, kernel, strides, dilations)):
        before, after = (pads[i], pads[i + axes]) if auto == "NOTSET" else window.automatic(auto)
        places = window.places(before, after, ceil=ceil)
        ends.append((before, window.missing(before, places)))
    return [end[side] for side in (0, 1) for end in ends]


def shuffled(node: ir.Node, codes: ir.Value, rw: Rewriter) -> ir.Value:
    """DepthToSpace or SpaceToDepth as Reshape, Transpose and Reshape.

    Raises:
        Refused: channels, height or width are not static.
    """
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    sizes = [] if shape is None else [dim for dim in list(shape)[1:] if isinstance(dim, int)]
    if len(sizes) != 3:
        raise Refused("it moves 16-bit codes between axes whose lengths are not known; fix the shapes")
    (c, h, w), block = sizes, node.attributes.get_int("blocksize", 1)
    if is_op(node, "SpaceToDepth"):
        apart, order = [0, c, h // block, block, w // block, block], [0, 3, 5, 1, 2, 4]
        together = [0, c * block**2, h // block, w // block]
    else:
        depth, first = c // block**2, node.attributes.get_string("mode", "DCR") == "DCR"
        apart = [0, block, block, depth, h, w] if first else [0, depth, block, block, h, w]
        order = [0, 3, 4, 1, 5, 2] if first else [0, 1, 4, 2, 5, 3]
        together = [0, depth, h * block, w * block]
    name, dtype = node.outputs[0].name or "shuffled", codes.dtype
    split = rw.op("Reshape", [codes, rw.const(np.asarray(apart, np.int64), f"{name}_apart")], dtype=dtype)
    moved = rw.op("Transpose", [split], {"perm": order}, dtype=dtype)
    shaped = rw.const(np.asarray(together, np.int64), f"{name}_together")
    return rw.op("Reshape", [moved, shaped], dtype=dtype)
