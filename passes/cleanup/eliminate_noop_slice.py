"""A Slice that keeps everything goes."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["EliminateNoopSlice"]

_TO_THE_END = 10**9
"""What exporters write as the end of an axis of unknown length, if not INT_MAX; no tensor axis is longer."""


@dataclass(frozen=True)
class EliminateNoopSlice(NodePass):
    """Let the readers of a Slice that keeps every element read its input.

           y = Slice(x, starts = 0, ends ≥ shape(x)[axes], axes, steps = 1)
        => y = x

    Applies when starts, ends, axes and steps are constants, and each end is 10⁹ or more, or reaches the end
    of an axis of known length.
    """

    name = "eliminate-noop-slice"
    contract = Contract.EXACT
    root = "Slice"

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        x, starts, ends = node.inputs[0], constant(get_input(node, 1)), constant(get_input(node, 2))
        if x is None or starts is None or ends is None or starts.any():
            return
        axes = _constant_or(get_input(node, 3), np.arange(len(starts)))
        steps = _constant_or(get_input(node, 4), np.ones_like(starts))
        if axes is None or steps is None or (steps != 1).any():
            return
        if all(end >= _length(x, axis) for end, axis in zip(ends.tolist(), axes.tolist(), strict=True)):
            rw.bypass(node, x)


def _constant_or(value: ir.Value | None, default: Array) -> Array | None:
    return default if value is None else constant(value)


def _length(x: ir.Value, axis: int) -> int:
    """The length of an axis, or the most it can be."""
    length = x.shape[axis] if x.shape is not None else None
    return length if isinstance(length, int) else _TO_THE_END
