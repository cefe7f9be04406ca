"""A number per channel taken out of a value and given back to the biases of the linear nodes that read it.

Y = X W + b = (X − z) W + (z W + b)      exact where all readers of X are linear and pad nothing

z = (max + min) / 2 of each channel makes the range of the value the widest channel's own range, as narrow as
a number per channel can make it (Wei et al., Outlier Suppression+, https://arxiv.org/abs/2304.09145). Behind
a Relu, z = max(0, min of the samples) keeps what the Relu gives as long as no sample falls below: the bias
absorption of Nagel et al., https://arxiv.org/abs/1906.04721, section 4.1.2, with the measured minimum.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_float, is_op
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.moves import MOVES, move
from onnxq.quant.channel_scale.normalization import second_norm
from onnxq.quant.channel_scale.shift_ends import Maker, find_maker, give_back, take_out, takes_shift
from onnxq.quant.channel_scale.spread import Spread
from onnxq.quant.channel_scale.terms import Observe

__all__ = ["Place", "Shift", "apply_shifts", "choose_shifts", "find_places"]

_EQUIVARIANT = (
    *("Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"),
    *("Gather", "Expand", "Tile", "MaxPool", "GlobalMaxPool", "GlobalAveragePool", "AveragePool"),
    *("ReduceMean", "ReduceMax", "ReduceMin"),
)
"""Operators with f(x − z) = f(x) − z."""


@dataclass(frozen=True, eq=False)
class Place:
    """A value that can be shifted: its maker, and for each linear reader which channel it reads where.

    ``channels`` are int64 arrays of the readers' rank that hold numbers of channels of the value. With
    ``apart`` other nodes read the value too, and its linear readers get a second normalization.
    """

    value: ir.Value
    maker: Maker
    readers: Sequence[tuple[ir.Node, IntArray]]
    apart: bool = False


@dataclass(frozen=True, eq=False)
class Shift:
    """What a place loses, float64 [channels]."""

    place: Place
    amount: FloatArray


def find_places(
    graph: ir.Graph, linear: Collection[str], *, rectified: bool = False, split: bool = False
) -> list[Place]:
    """Where a shift leaves every output as it is.

    ``rectified`` takes in what a Relu makes, ``split`` the outputs of layer norms that a residual reads too.
    Bodies of If and Loop are not entered, and what they read stays as it is.
    """
    found = []
    for node in graph:
        for value in node.outputs[:1]:
            maker = find_maker(value, rectified=rectified)
            if maker is None:
                continue
            place = _place(value, maker, linear, split=split and maker.norm)
            found += [place] if place is not None else []
    return found


def choose_shifts(
    model: ir.Model, places: Sequence[Place], observe: Observe, gain: float, *, symmetric: bool = False
) -> list[Shift]:
    """The shifts that narrow a value, or its channels on average, by ``gain`` dB at least.

    Raises:
        DataError: there are no samples, or a value becomes NaN or infinite.
    """
    if not places:
        return []
    seen = observe(model, {place.value.name or "": Spread(place.maker.shape) for place in places})
    return [made for place in places if (made := _shift(place, seen, gain, symmetric)) is not None]


def apply_shifts(shifts: Sequence[Shift], rw: Rewriter) -> None:
    """Carry the shifts out."""
    for shift in shifts:
        place = shift.place
        if place.apart:
            made = second_norm(place.value, np.ones(place.maker.shape), rw)
            assert made is not None, "find_places asked for a norm"
            rw.interpose(place.value, made, [node for node, _ in place.readers])
            norm = made.producer()
            assert norm is not None, "it has just been made"
            take_out(replace(place.maker, node=norm), shift.amount, rw)
        else:
            take_out(place.maker, shift.amount, rw)
        for node, channels in place.readers:
            give_back(node, shift.amount[channels], rw)


def _place(value: ir.Value, maker: Maker, linear: Collection[str], *, split: bool) -> Place | None:
    numbers = np.arange(maker.channels, dtype=np.int64).reshape(maker.shape)
    readers = _readers(value, numbers, linear)
    if readers:
        return Place(value, maker, readers)
    near = [
        (use.node, numbers)
        for use in value.uses()
        if split and takes_shift(use.node, use.idx, numbers, linear) and use.node.graph is maker.node.graph
    ]
    return Place(value, maker, near, apart=True) if near else None


def _readers(
    value: ir.Value, numbers: IntArray, linear: Collection[str]
) -> list[tuple[ir.Node, IntArray]] | None:
    """All that reads a value in the end, if that is linear nodes only."""
    maker = value.producer()
    if value.is_graph_output() or maker is None:
        return None
    found: list[tuple[ir.Node, IntArray]] = []
    for use in value.uses():
        if use.node.graph is not maker.graph:
            return None
        if takes_shift(use.node, use.idx, numbers, linear):
            found.append((use.node, numbers))
            continue
        behind = _behind(use.node, use.idx, numbers, linear)
        if behind is None:
            return None
        found += behind
    return found


def _behind(
    node: ir.Node, index: int, numbers: IntArray, linear: Collection[str]
) -> list[tuple[ir.Node, IntArray]] | None:
    if index != 0 or not is_op(node, *_EQUIVARIANT) or node.attributes.get_int("count_include_pad", 0) != 0:
        return None
    moved = move(node, [numbers]) if node.op_type in MOVES else None
    if moved is None:
        return None
    found: list[tuple[ir.Node, IntArray]] = []
    for output, array in zip(node.outputs, moved, strict=False):
        if not is_float(output):
            continue
        readers = _readers(output, array, linear)
        if readers is None or output.shape is None or len(output.shape) != array.ndim:
            return None
        found += readers
    return found


def _shift(place: Place, seen: Mapping[str, object], gain: float, symmetric: bool) -> Shift | None:
    spread = seen[place.value.name or ""]
    if not isinstance(spread, Spread) or not spread.count:
        return None
    high, low = spread.max.reshape(-1), spread.min.reshape(-1)
    z = np.maximum(low, 0.0) if place.maker.rectified else (high + low) / 2
    before, after = _width(high, low, symmetric), _width(high - z, low - z, symmetric)
    floor = max(before.max() * 1e-4, 1e-30)
    narrower = np.log10(np.maximum(before, floor) / np.maximum(after, floor)).mean()
    whole = _whole(high, low, symmetric) / max(_whole(high - z, low - z, symmetric), floor)
    if 20 * max(float(narrower), float(np.log10(max(whole, 1e-30)))) < gain or not z.any():
        return None
    return Shift(place, z)


def _width(high: FloatArray, low: FloatArray, symmetric: bool) -> FloatArray:
    """Of ranges that hold 0, as all ranges of integers do."""
    up, down = np.maximum(high, 0), np.maximum(-low, 0)
    return 2 * np.maximum(up, down) if symmetric else up + down


def _whole(high: FloatArray, low: FloatArray, symmetric: bool) -> float:
    return float(_width(high.max(keepdims=True), low.min(keepdims=True), symmetric)[0])
