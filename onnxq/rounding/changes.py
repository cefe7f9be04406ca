"""Writing a layer's new weights, scales and bias into the graph, and taking them back."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, sole_consumer
from onnxq.graph.numeric import Array, FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.rounding.biases import bias_place, shift_bias
from onnxq.rounding.rounded import Rounded
from onnxq.rounding.sites import Site

__all__ = ["inputs_of", "restore", "write"]

Place: TypeAlias = tuple[ir.Node, int, ir.Value | None]


def write(site: Site, rounded: Rounded, rw: Rewriter) -> None:
    """Give a layer other parameters; equal ones are no edit."""
    weights = np.ascontiguousarray(site.layout(rounded.weights), np.float32) + np.float32(0)  # no −0.0
    _set(site.quantize, 0, weights, rw)
    _set_scale(site, rounded.scale, rw)
    if rounded.shift.any():
        shift_bias(site.node, rounded.shift.reshape(-1), rw)


def inputs_of(site: Site) -> Iterator[Place]:
    """What :func:`write` may change: nodes, which input of them, and what they read there now."""
    places = [(site.quantize, 0), (site.quantize, 1), bias_place(site.node)]
    back = sole_consumer(site.quantize.outputs[0])
    for place in [*places, (back, 1) if back is not None else None]:
        if place is not None:
            yield *place, get_input(*place)


def restore(places: Iterable[Place], rw: Rewriter) -> None:
    """Let the nodes read again what they read then."""
    for node, index, value in places:
        if get_input(node, index) is not value:
            rw.set_input(node, index, value)


def _set_scale(site: Site, scale: FloatArray, rw: Rewriter) -> None:
    """Other scales, [groups, outputs, inputs], for a pair with one an output."""
    axis, back = site.qparams.axis, sole_consumer(site.quantize.outputs[0])
    if axis is None or site.qparams.block is not None or back is None:
        return
    whole = site.layout(np.broadcast_to(scale, site.real.shape))
    array = np.moveaxis(whole, axis, 0).reshape(site.qparams.scale.size, -1)[:, 0].astype(np.float32)
    for node in (site.quantize, back):
        _set(node, 1, array, rw)


def _set(node: ir.Node, index: int, array: Array, rw: Rewriter) -> None:
    was = get_input(node, index)
    now = constant(was)
    if now is None or not np.array_equal(array, now):
        rw.set_input(node, index, rw.const(array, (was.name if was is not None else None) or "constant"))
