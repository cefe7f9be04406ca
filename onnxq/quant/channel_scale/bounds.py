"""Clip: a bound that differs from channel to channel keeps it exact.

Clip(x, a, b) / s = Max(Min(x / s, b / s), a / s)
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, scalar
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.rule import Rule, Scales, Tracer, is_one

__all__ = ["Bounded"]


class Bounded(Rule):
    """A Clip with constant bounds; one that only cuts at 0 is homogeneous.

    The Clip stays with the widest of the new bounds, so that it still fuses with the operator before it and
    keeps the range narrow; Min and Max behind it cut the rest.
    """

    def __init__(self, *, split: bool) -> None:
        self._split = split

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        given = [get_input(node, 1), get_input(node, 2)]
        bounds = [scalar(value) for value in given if value is not None]
        if any(bound is None for bound in bounds) or (any(bounds) and not self._split):
            return tracer.fix(*node.inputs)
        return tracer.give(node.outputs[0], tracer.of(node.inputs[0]))

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:
        scale = scales(node.outputs[0])
        low, high = scalar(get_input(node, 1)), scalar(get_input(node, 2))
        if is_one(scale) or not (low or high):
            return
        x, y = node.inputs[0], node.outputs[0]
        lows, highs = (None if b is None else np.asarray(b / scale, np.float32)[0] for b in (low, high))
        outer = [
            None if bound is None else rw.const(np.asarray(pick(bound)), f"{y.name}_bound")
            for bound, pick in ((lows, np.min), (highs, np.max))
        ]
        made = rw.op("Clip", [x, *outer], like=y)
        if highs is not None and high:
            made = rw.op("Min", [made, rw.const(highs, f"{y.name}_upper")], like=y)
        if lows is not None and low:
            made = rw.op("Max", [made, rw.const(lows, f"{y.name}_lower")], like=y)
        rw.replace(node, made)
