"""The closed form of SmoothQuant, for edges of any kind.

    s_j = max|X_j|^α / max|W_j|^(1−α),   over all values X and weights W that share channel j

Source: Xiao et al., SmoothQuant, https://arxiv.org/abs/2211.10438. Between two activations, as in Q·Kᵀ, the
other one takes the weight's place. A depthwise 1×1 Conv, such as stands in front of a gate, holds any factor
and does not count. The geometric mean over the channels of a block is made 1.
"""

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.quant.channel_scale.linear import read_weight
from onnxq.quant.channel_scale.spread import Spread
from onnxq.quant.channel_scale.trace import Trace

__all__ = ["closed_form"]


def closed_form(
    graph: ir.Graph, found: Trace, spreads: Mapping[ir.Value, Spread], alpha: float, linear: Collection[str]
) -> FloatArray:
    """t = ln s, float64 [unknowns]; 0 for channels whose activations or weights are all zero."""
    numerator, denominator = np.zeros(found.count + 1), np.zeros(found.count + 1)
    for node in graph:
        if not is_op(node, *linear):
            continue
        weight = read_weight(node)
        if weight is not None and weight.matrix.shape[1:] == (1, 1, 1):
            continue
        for value in node.inputs if weight is None else (node.inputs[weight.data],):
            if value is not None and value in spreads:
                ids = np.broadcast_to(found.read(value), spreads[value].shape).reshape(-1)
                peaks = spreads[value].absmax.reshape(-1)
                _raise(numerator, ids, peaks)
                _raise(denominator, -ids, peaks)
        if weight is not None:
            ids = np.broadcast_to(found.read(node.inputs[weight.data]).reshape(-1), (weight.inputs,))
            _raise(denominator, ids, np.abs(weight.matrix).max((1, 3)).reshape(-1))
    known = (numerator > 0) & (denominator > 0)
    t = np.zeros(found.count + 1)
    t[known] = alpha * np.log(numerator[known]) - (1 - alpha) * np.log(denominator[known])
    _center(t, known, found)
    return t[1:]


def _raise(peaks: FloatArray, ids: IntArray, values: FloatArray) -> None:
    np.maximum.at(peaks, ids[ids > 0], values[ids > 0])


def _center(t: FloatArray, known: Array, found: Trace) -> None:
    """Geometric mean 1 per value; a scale that the other side takes as its reciprocal has no freedom left."""
    arrays = [*found.ids.values(), *found.inserted.values()]
    done = np.zeros(len(t), bool)
    for ids in arrays:
        done[-ids[ids < 0]] = True
    for ids in arrays:
        numbers = np.unique(np.abs(ids[ids != 0]))
        numbers = numbers[known[numbers] & ~done[numbers]]
        if numbers.size:
            t[numbers] -= t[numbers].mean()
        done[numbers] = True
