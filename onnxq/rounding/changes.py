"""Writing a layer's new weights and scales into the graph."""

import numpy as np

from onnxq.graph.match import sole_consumer
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.rounding.sites import Site

__all__ = ["set_scale", "set_weight"]


def set_weight(site: Site, weights: FloatArray, rw: Rewriter) -> None:
    """Put other real weights, [groups, outputs, inputs], in front of the pair; equal ones are no edit."""
    array = np.ascontiguousarray(site.layout(weights), np.float32)
    if not np.array_equal(array, site.weight):
        was = site.quantize.inputs[0]
        rw.set_input(site.quantize, 0, rw.const(array, (was.name if was is not None else None) or "weight"))


def set_scale(site: Site, scale: FloatArray, rw: Rewriter) -> None:
    """Give the pair of a layer with one scale an output other scales, [groups, outputs, inputs]."""
    axis, was, back = site.qparams.axis, site.qparams.scale, sole_consumer(site.quantize.outputs[0])
    if axis is None or back is None:
        return
    array = np.moveaxis(site.layout(scale), axis, 0).reshape(was.size, -1)[:, 0].astype(np.float32)
    if np.array_equal(array, was):
        return
    value = site.quantize.inputs[1]
    new = rw.const(array, (value.name if value is not None else None) or "scale")
    for node in (site.quantize, back):
        rw.set_input(node, 1, new)
