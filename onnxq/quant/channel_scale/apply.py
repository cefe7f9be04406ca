"""Carry a decided scaling out: every operator takes in the scales around it."""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.decide import Scaling
from onnxq.quant.channel_scale.linear import read_weight
from onnxq.quant.channel_scale.normalization import second_norm
from onnxq.quant.channel_scale.rule import Scales

__all__ = ["apply"]

_NONE: FloatArray = np.ones(1)


def apply(scaling: Scaling, rw: Rewriter) -> None:
    """Edit the main graph. Readers come before makers, so that every node still knows its values."""
    if not scaling.scales and not scaling.inserted:
        return

    nodes = list(rw.model.graph)
    for node in reversed(nodes):
        scaling.rules.of(node).apply(node, _scales_around(node, scaling), rw)
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node in nodes:
        for value in _read_by(node, scaling):
            readers.setdefault(value, []).append(node)
    for value, scale in scaling.inserted.items():
        made = second_norm(value, scale, rw)
        if made is None:
            factor = rw.const(np.asarray(1 / scale, np.float32), f"{value.name}_smooth")
            made = rw.op("Mul", [value, factor], like=value)
        rw.interpose(value, made, readers[value])


def _scales_around(node: ir.Node, scaling: Scaling) -> Scales:
    read = _read_by(node, scaling)
    return lambda value: _NONE if value is None else read.get(value, scaling.scales.get(value, _NONE))


def _read_by(node: ir.Node, scaling: Scaling) -> dict[ir.Value, FloatArray]:
    """The scale that a new Mul takes out of what a linear node reads."""
    weight = read_weight(node)
    data = None if weight is None else get_input(node, weight.data)
    found = None if data is None else scaling.inserted.get(data)
    return {} if data is None or found is None else {data: found}
