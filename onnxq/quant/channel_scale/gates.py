"""Gated activations: a product of a value and a gate of it, of which only the gate needs the true value.

    y = x · g(x),  x' = x / s        y' = x' · g(s ⊙ x') = y / s
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.rule import Rule, Scales, Tracer, is_one

__all__ = ["GATES", "Gated"]


def _clip(x, b, rw):
    b=np.float32(b)
    return rw.op("Clip", [x, rw.const(np.asarray(-b), "lo"), rw.const(np.asarray(b), "hi")], like=x)

def _swish(node: ir.Node, x: ir.Value, rw: Rewriter) -> ir.Value:
    import os
    if os.environ.get("SB"): x=_clip(x, float(os.environ["SB"]), rw)
    return rw.op("Sigmoid", [x], like=x)


def _hard_swish(node: ir.Node, x: ir.Value, rw: Rewriter) -> ir.Value:
    import os
    if os.environ.get("SB"): x=_clip(x, 3.0, rw)
    return rw.op("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.5}, like=x)


def _gelu(node: ir.Node, x: ir.Value, rw: Rewriter) -> ir.Value:
    """(1 + erf(z)) / 2 of z = x / √2, which :func:`_inner` has put into the scale."""
    half = np.asarray(0.5, np.float32)
    curve = rw.op("Mul", [rw.op("Erf", [x], like=x), rw.const(half, "half")], like=x)
    return rw.op("Add", [curve, rw.const(half, "half")], like=x)


def _inner(node: ir.Node) -> float:
    """The factor of x inside the gate."""
    return node.attributes.get_float("alpha", 1.0) if is_op(node, "Swish") else _INNER.get(node.op_type, 1.0)


_INNER = {"Gelu": 0.5**0.5}

GATES: Mapping[str, Callable[[ir.Node, ir.Value, Rewriter], ir.Value]] = MappingProxyType(
    {"Swish": _swish, "HardSwish": _hard_swish, "Gelu": _gelu}
)


class Gated(Rule):
    """Swish, HardSwish and Gelu (the exact one), taken apart where a scale passes through.

    In front of the gate stands a depthwise 1×1 Conv, whose 8-bit weights hold a factor per channel exactly;
    behind a MatMul, where there is no channel axis 1, a Mul.
    """

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        if node.attributes.get_string("approximate", "none") != "none":
            return tracer.fix(*node.inputs)
        return tracer.give(node.outputs[0], tracer.of(node.inputs[0]))

    def apply(self, node: ir.Node, scales: Scales, rw: Rewriter) -> None:
        x, y = node.inputs[0], node.outputs[0]
        scale = scales(y)
        if is_one(scale) or x is None:
            return
        gate = GATES[node.op_type](node, self._restored(x, y, scale * _inner(node), rw), rw)
        rw.replace(node, rw.op("Mul", [x, gate], like=y))

    @staticmethod
    def _restored(x: ir.Value, y: ir.Value, factor: FloatArray, rw: Rewriter) -> ir.Value:
        """factor ⊙ x"""
        if factor.ndim < 3 or factor.size != factor.shape[1]:
            constant = rw.const(np.asarray(factor, np.float32), f"{y.name}_scale")
            return rw.op("Mul", [x, constant], like=y)
        channels = factor.shape[1]
        weight = np.asarray(factor, np.float32).reshape(channels, 1, *[1] * (factor.ndim - 2))
        return rw.op("Conv", [x, rw.const(weight, f"{y.name}_scale")], {"group": channels}, like=y)
