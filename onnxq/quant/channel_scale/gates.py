"""Gated activations: a product of a value and a gate of it, of which only the gate needs the true value.

y = x · g(x),  x' = x / s        y' = x' · g(s ⊙ x') = y / s
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.channel_scale.rule import Rule, Scales, Tracer, is_one

__all__ = ["GATES", "Gated"]


def _sigmoid(x: ir.Value, rw: Rewriter) -> ir.Value:
    return rw.op("Sigmoid", [x], like=x)


def _hard_sigmoid(x: ir.Value, rw: Rewriter) -> ir.Value:
    return rw.op("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.5}, like=x)


def _normal(x: ir.Value, rw: Rewriter) -> ir.Value:
    """Φ = (1 + erf(x)) / 2 of x = z / √2."""
    half = rw.const(np.asarray(0.5, np.float32), "half")
    curve = rw.op("Mul", [rw.op("Erf", [x], like=x), half], like=x)
    return rw.op("Add", [curve, half], like=x)


@dataclass(frozen=True)
class _Gate:
    """g(x) = shape(factor · x), which no longer changes in float32 where its argument leaves ±``bound``."""

    shape: Callable[[ir.Value, Rewriter], ir.Value]
    bound: float
    factor: float = 1.0


GATES: Mapping[str, _Gate] = MappingProxyType(
    {
        "Swish": _Gate(_sigmoid, 16.0),
        "HardSwish": _Gate(_hard_sigmoid, 3.0),
        "Gelu": _Gate(_normal, 4.0, 0.5**0.5),
    }
)
"""Operators that are x times a gate of x, and their gates."""


class Gated(Rule):
    """Swish, HardSwish and Gelu (the exact one), taken apart where a scale passes through.

    In front of the gate stands a depthwise 1×1 Conv, whose 8-bit weights hold a factor per channel exactly;
    behind a MatMul, where there is no channel axis 1, a Mul. A Clip to where the gate is flat keeps the range
    of its argument narrow.
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
        gate = GATES[node.op_type]
        factor = gate.factor * (node.attributes.get_float("alpha", 1.0) if is_op(node, "Swish") else 1.0)
        whole = self._restored(x, y, scale * factor, rw)
        bounds = [rw.const(np.asarray(b, np.float32), f"{y.name}_bound") for b in (-gate.bound, gate.bound)]
        inner = rw.op("Clip", [whole, *bounds], like=y)
        rw.replace(node, rw.op("Mul", [x, gate.shape(inner, rw)], like=y))

    @staticmethod
    def _restored(x: ir.Value, y: ir.Value, factor: FloatArray, rw: Rewriter) -> ir.Value:
        """factor ⊙ x"""
        if factor.ndim < 3 or factor.size != factor.shape[1]:
            constant = rw.const(np.asarray(factor, np.float32), f"{y.name}_scale")
            return rw.op("Mul", [x, constant], like=y)
        channels = factor.shape[1]
        weight = np.asarray(factor, np.float32).reshape(channels, 1, *[1] * (factor.ndim - 2))
        return rw.op("Conv", [x, rw.const(weight, f"{y.name}_scale")], {"group": channels}, like=y)
