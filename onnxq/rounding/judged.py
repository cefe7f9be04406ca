"""Where a model is judged: its float outputs, or what lies before a function that squashes them.

    y = Softmax(z)       judged at z, less its mean along the axis: Softmax does not see that
    y = Sigmoid(z)       judged at z
    y = Concat(a, …)     judged at each part, and so behind Reshape, Transpose and their like

A Softmax that has decided hides the error of its logits, and of a few samples the undecided ones alone would
count. Parts of a Concat are of different sizes, such as boxes and scores.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, is_float, is_op, producer
from onnxq.graph.numeric import Array, FloatArray

__all__ = ["Judged", "judged"]

_MOVES = (
    "Concat",
    "Flatten",
    "Identity",
    "QuantizeLinear",
    "DequantizeLinear",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
_MOST = 16


@dataclass(frozen=True)
class Judged:
    """A value by its name in the model and in its float twin; ``axis``: along which its mean is no matter."""

    name: str
    float_name: str
    axis: int | None = None

    def of(self, array: Array) -> FloatArray:
        """What of an array of the value counts, float64."""
        real: FloatArray = array.astype(np.float64)
        return real if self.axis is None else real - real.mean(axis=self.axis, keepdims=True)


def judged(model: ir.Model, twins: Mapping[ir.Node, ir.Node]) -> list[Judged]:
    """The values of a fake-quantized model; ``twins`` are the nodes of its float model."""
    found: dict[str, Judged] = {}
    for output in model.graph.outputs:
        name = output.name or ""
        parts = list(_walk(output, twins)) if is_float(output) else []
        if not parts or len(parts) > _MOST:
            parts = [Judged(name, name)] if is_float(output) else []
        found |= {part.name: part for part in parts}
    return list(found.values())


def _walk(value: ir.Value, twins: Mapping[ir.Node, ir.Node]) -> Iterator[Judged]:
    """What an output is made of; nothing where that is no squashed or moved value."""
    node = producer(value)
    if node is None or node not in twins:
        return
    if is_op(node, "Softmax", "LogSoftmax", "Sigmoid"):
        axis = None if is_op(node, "Sigmoid") else node.attributes.get_int("axis", -1)
        yield from _place(node, 0, twins, axis)
        return
    if not is_op(node, *_MOVES):
        return
    for index in range(len(node.inputs) if is_op(node, "Concat") else 1):
        source = get_input(node, index)
        inner = [] if source is None else list(_walk(source, twins))
        yield from inner or (_place(node, index, twins) if is_op(node, "Concat") else ())


def _place(
    node: ir.Node, index: int, twins: Mapping[ir.Node, ir.Node], axis: int | None = None
) -> Iterator[Judged]:
    value, twin = get_input(node, index), get_input(twins[node], index)
    if producer(value) is None or producer(twin) is None or value is None or twin is None:
        return
    if value.name and twin.name:
        yield Judged(value.name, twin.name, axis)
