"""How operators that only rearrange elements carry a number per channel along.

What belongs to the channels of a value is an array of the value's rank, with 1 for every axis along which
nothing differs: [1, C, 1, 1] behind a Conv, [1, 1, C] behind a MatMul, [1, H, 1, D] in an attention head.
So a Transpose of the value is a Transpose of that array, a Reshape a Reshape. :func:`move` gives the array
of each output, or None where it cannot be told (a shape that is not known, indices computed at run time).
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, rank
from onnxq.graph.numeric import Array

__all__ = ["MOVES", "align", "move"]

Dim: TypeAlias = int | str | None
_Span: TypeAlias = tuple[int, int]


def move(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    """The arrays of all outputs from those of the data inputs (of Concat all, of the others the first)."""
    return MOVES[node.op_type](node, arrays)


def align(array: Array, axes: int) -> Array:
    """The array with leading axes of 1 until it has ``axes`` of them."""
    return array.reshape((1,) * (axes - array.ndim) + array.shape)


def _same(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    return [arrays[0] for _ in node.outputs]


def _transpose(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    perm = node.attributes.get("perm")
    return [np.transpose(arrays[0], None if perm is None else tuple(perm.as_ints()))]


def _reshape(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    before, after = _dims(node.inputs[0]), _dims(node.outputs[0])
    if before is None or after is None or len(before) != arrays[0].ndim:
        return None
    made = _regroup(arrays[0], before, after)
    return None if made is None else [made]


def _spatial(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    """Pooling and the like: nothing may differ along the axes they work on."""
    return _same(node, arrays) if prod(arrays[0].shape[2:]) == 1 else None


def _resize(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    before, after = _dims(node.inputs[0]), _dims(node.outputs[0])
    if before is None or after is None:
        return None
    pairs = zip(before, after, arrays[0].shape, strict=True)
    kept = all(size == 1 or (isinstance(was, int) and was == now) for was, now, size in pairs)
    outside = node.attributes.get_float("extrapolation_value", 0.0)
    return [arrays[0]] if kept and outside == 0 else None


def _pad(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    pads, fill, axes = (constant(get_input(node, i)) for i in (1, 2, 3))
    given = [get_input(node, i) for i in (2, 3)]
    if pads is None or any(v is not None and a is None for v, a in zip(given, (fill, axes), strict=True)):
        return None
    zero = fill is None or not fill.any() or node.attributes.get_string("mode", "constant") != "constant"
    padded = range(arrays[0].ndim) if axes is None else [int(a) % arrays[0].ndim for a in axes]
    touched = np.abs(pads).reshape(2, -1).sum(axis=0)
    flat = all(arrays[0].shape[axis] == 1 for axis, hit in zip(padded, touched, strict=True) if hit)
    return [arrays[0]] if zero and flat else None


def _reduce(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    array, given = arrays[0], get_input(node, 1)
    axes = node.attributes.get("axes") if given is None else None
    listed = constant(given) if given is not None else None if axes is None else np.array(axes.as_ints())
    if given is not None and listed is None:
        return None
    everywhere = listed is None or listed.size == 0
    if everywhere and node.attributes.get_int("noop_with_empty_axes", False):
        return [array]
    over = (
        tuple(range(array.ndim))
        if listed is None or everywhere
        else tuple(int(a) % array.ndim for a in listed)
    )
    if any(array.shape[axis] != 1 for axis in over):
        return None
    return [array if node.attributes.get_int("keepdims", True) else np.squeeze(array, over)]


def _slice(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    array = arrays[0]
    if prod(array.shape) == 1:
        return [array]
    given = [get_input(node, i) for i in range(1, 5)]
    starts, ends, axes, steps = (constant(value) for value in given)
    if starts is None or ends is None or any(v is not None and constant(v) is None for v in given):
        return None
    where = range(starts.size) if axes is None else [int(a) % array.ndim for a in axes]
    cut = [slice(None)] * array.ndim
    for i, axis in enumerate(where):
        if array.shape[axis] != 1:
            step = 1 if steps is None else int(steps[i])
            cut[axis] = _python_slice(int(starts[i]), int(ends[i]), step, array.shape[axis])
    return [array[tuple(cut)]]


def _python_slice(start: int, end: int, step: int, size: int) -> slice:
    """ONNX writes "to the very beginning" as an end below −size, which Python spells None."""
    return slice(start, None if step < 0 and end < -size else end, step)


def _split(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    array, axis = arrays[0], node.attributes.get_int("axis", 0) % arrays[0].ndim
    if array.shape[axis] == 1:
        return _same(node, arrays)
    sizes = [dims[axis] if (dims := _dims(output)) is not None else None for output in node.outputs]
    if any(not isinstance(size, int) for size in sizes):
        return None
    ends = np.cumsum([int(size) for size in sizes if isinstance(size, int)])
    return np.split(array, ends[:-1], axis) if ends[-1] == array.shape[axis] else None


def _concat(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    """Along the channels; the caller joins the inputs of a Concat along another axis."""
    axis = node.attributes.get_int("axis", 0) % arrays[0].ndim
    sizes = [dims[axis] if (dims := _dims(value)) is not None else None for value in node.inputs]
    if any(not isinstance(size, int) for size in sizes):
        return None
    others = np.broadcast_shapes(*((*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in arrays))
    shapes = ((*others[:axis], int(size), *others[axis + 1 :]) for size in sizes if isinstance(size, int))
    return [np.concatenate([np.broadcast_to(a, s) for a, s in zip(arrays, shapes, strict=True)], axis)]


def _gather(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    array, indices = arrays[0], get_input(node, 1)
    axis, axes = node.attributes.get_int("axis", 0) % arrays[0].ndim, rank(indices)
    if axes is None:
        return None
    if array.shape[axis] == 1:
        return [array.reshape(array.shape[:axis] + (1,) * axes + array.shape[axis + 1 :])]
    listed = constant(indices)
    return None if listed is None else [np.take(array, listed, axis)]


def _expand(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    axes = rank(node.outputs[0])
    return None if axes is None else [align(arrays[0], axes)]


def _tile(node: ir.Node, arrays: Sequence[Array]) -> list[Array] | None:
    repeats = constant(get_input(node, 1))
    if repeats is None:
        return None
    return [
        np.tile(
            arrays[0], [int(n) if size > 1 else 1 for n, size in zip(repeats, arrays[0].shape, strict=True)]
        )
    ]


Move = Callable[[ir.Node, Sequence[Array]], list[Array] | None]

MOVES: Mapping[str, Move] = MappingProxyType(
    dict.fromkeys(("Identity", "Dropout", "Relu", "LeakyRelu", "PRelu", "Neg", "Abs"), _same)
    | dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape)
    | dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _spatial)
    | dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"), _reduce)
    | {
        "Transpose": _transpose,
        "Resize": _resize,
        "Pad": _pad,
        "Slice": _slice,
        "Split": _split,
        "Concat": _concat,
        "Gather": _gather,
        "Expand": _expand,
        "Tile": _tile,
    }
)
"""By operator; each is positively homogeneous, so that a scale passes through unchanged."""


# --- reshaping --------------------------------------------------------------------------------------


def _dims(value: ir.Value | None) -> list[Dim] | None:
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def _regroup(array: Array, before: Sequence[Dim], after: Sequence[Dim]) -> Array | None:
    """Reshape by factors: equal runs of trailing axes correspond, then equal leading axes do.

    Only where an array differs along an axis does that axis have to be understood; the rest becomes 1.
    """
    runs, unknown = _runs(before, after)
    if any(size != 1 for size in array.shape[slice(*unknown)]):
        return None
    full, made = [1] * len(before), [1] * len(after)
    for (a, b), (c, d) in runs:
        if prod(array.shape[a:b]) > 1:
            full[a:b], made[c:d] = _ints(before[a:b]), _ints(after[c:d])
    fits = all(have in (1, size) for have, size in zip(array.shape, full, strict=True))
    return np.broadcast_to(array, full).reshape(made) if fits and prod(full) == prod(made) else None


def _runs(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[list[tuple[_Span, _Span]], _Span]:
    """Axes of both sides that hold the same elements, and those of ``before`` that are not understood."""
    runs: list[tuple[_Span, _Span]] = []
    i, j = len(before), len(after)
    while i and j and (run := _trailing_run(before[:i], after[:j])) is not None:
        runs.append(((i - run[0], i), (j - run[1], j)))
        i, j = i - run[0], j - run[1]
    lead = 0
    while lead < min(i, j) and before[lead] is not None and before[lead] == after[lead]:
        runs.append(((lead, lead + 1), (lead, lead + 1)))
        lead += 1
    return runs, (lead, i)


def _ints(dims: Sequence[Dim]) -> list[int]:
    return [size if isinstance(size, int) else 1 for size in dims]


def _trailing_run(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[int, int] | None:
    """The fewest trailing axes of both sides that hold the same elements, at least one of each."""
    if before[-1] is not None and before[-1] == after[-1]:
        return 1, 1
    i, j, left, right = 1, 1, before[-1], after[-1]
    while isinstance(left, int) and isinstance(right, int) and left != right:
        if left < right:
            i += 1
            step = before[-i] if i <= len(before) else None
            left = left * step if isinstance(step, int) else None
        else:
            j += 1
            step = after[-j] if j <= len(after) else None
            right = right * step if isinstance(step, int) else None
    return (i, j) if isinstance(left, int) and left == right else None
