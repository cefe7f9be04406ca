"""Newer operators written out in older ones, with as few nodes as possible."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constants, get_input, rank
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering._einsum import read_equation, write_einsum

__all__ = ["Recipe", "compact_recipe"]

Recipe: TypeAlias = Callable[[Rewriter], Sequence[ir.Value]]
"""Prepares the nodes that compute a node's outputs."""


def compact_recipe(node: ir.Node, opset: int) -> Recipe | None:
    """How to write ``node`` for ``opset``; None where that needs the general body of the operator.

    That is so for other operators, for a dtype that is not known, for normalizations of other dtypes than
    float32, with further outputs, or over axes that cannot be counted from the end, and for those of groups
    whose scales are computed, or whose channels do not make so many groups.
    """
    x, write = get_input(node, 0), _RECIPES.get(node.op_type)
    if x is None or x.dtype is None or write is None:
        return None
    if node.op_type in ("LayerNormalization", "RMSNormalization") and _axes(node, x) is None:
        return None
    if node.op_type == "GroupNormalization" and not _one_gain_a_channel(node, x):
        return None
    if node.op_type == "Einsum" and read_equation(node) is None:
        return None
    return lambda rw: [write(_Writer(rw, node, x, opset))]


def _axes(node: ir.Node, x: ir.Value) -> list[int] | None:
    axis, dims = node.attributes.get_int("axis", -1), rank(x)
    plain = x.dtype == ir.DataType.FLOAT and node.attributes.get_int("stash_type", 1) == 1
    if axis is None or not plain or any(o.name for o in node.outputs[1:]) or (axis >= 0 and dims is None):
        return None
    return list(range(axis if axis < 0 or dims is None else axis - dims, 0))


def _one_gain_a_channel(node: ir.Node, x: ir.Value) -> bool:
    """Whether a GroupNormalization is that of opset 21: up to 20 it had one gain a group."""
    given, dims = constants(node.inputs[1:]), list(x.shape or ())
    if given is None or len(dims) < 2 or not isinstance(channels := dims[1], int):
        return False
    groups = node.attributes.get_int("num_groups", 0) or 0
    return all(a.size == channels for a in given) and groups > 0 and channels > 0 == channels % groups


@dataclass(frozen=True)
class _Writer:
    """Writes formulas in ``x``, the first input of ``node``: numbers take its dtype, results its shape."""

    rw: Rewriter
    node: ir.Node
    x: ir.Value
    opset: int

    def number(self, value: float) -> ir.Value:
        dtype = (self.x.dtype or ir.DataType.FLOAT).numpy()
        return self.rw.const(np.asarray(value, dtype), f"{self.node.op_type.lower()}_number")

    def op(self, op_type: str, *inputs: ir.Value | float, like: ir.Value | None = None) -> ir.Value:
        values = [i if isinstance(i, ir.Value) else self.number(i) for i in inputs]
        return self.rw.op(op_type, values, like=like if like is not None else self.x)

    def mean(self, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        """ReduceMean over the last axes: an attribute up to opset 17, an input from 18 on."""
        shape = None
        if value.shape is not None:
            shape = ir.Shape([*list(value.shape)[: -len(axes)], *(1 for _ in axes)])
        if self.opset < 18:
            return self.rw.op("ReduceMean", [value], {"axes": axes}, dtype=value.dtype, shape=shape)
        axes_value = self.rw.const(np.asarray(axes, np.int64), "axes")
        return self.rw.op("ReduceMean", [value, axes_value], dtype=value.dtype, shape=shape)

    def weighted(self, value: ir.Value) -> ir.Value:
        """``value · gain + bias`` with the further inputs of the node."""
        gain, bias = get_input(self.node, 1), get_input(self.node, 2)
        value = value if gain is None else self.op("Mul", value, gain)
        return value if bias is None else self.op("Add", value, bias)

    def normalized(self, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        """``value / √(mean(value²) + epsilon)``."""
        mean = self.mean(self.op("Mul", value, value), axes)
        epsilon = self.node.attributes.get_float("epsilon", 1e-5)
        root = self.op("Sqrt", self.op("Add", mean, epsilon or 0.0, like=mean), like=mean)
        return self.op("Div", value, root)


def _gelu(w: _Writer) -> ir.Value:
    """``x · (k + 1) / 2`` with k = Erf(x / √2), or Tanh of the cubic in ``approximate="tanh"``."""
    if w.node.attributes.get_string("approximate", "none") == "tanh":
        slope = w.op("Add", w.op("Mul", w.op("Mul", w.x, w.x), 0.044715 * sqrt(2 / pi)), sqrt(2 / pi))
        k = w.op("Tanh", w.op("Mul", w.x, slope))
    else:
        k = w.op("Erf", w.op("Div", w.x, sqrt(2)))
    return w.op("Mul", w.op("Mul", w.x, w.op("Add", k, 1.0)), 0.5)


def _swish(w: _Writer) -> ir.Value:
    """``x · Sigmoid(alpha · x)``."""
    alpha = w.node.attributes.get_float("alpha", 1.0)
    scaled = w.x if alpha is None or alpha == 1 else w.op("Mul", w.x, alpha)
    return w.op("Mul", w.x, w.op("Sigmoid", scaled))


def _hard_swish(w: _Writer) -> ir.Value:
    """``x · HardSigmoid(x)`` with alpha = 1/6, beta = 1/2."""
    return w.op("Mul", w.x, w.rw.op("HardSigmoid", [w.x], {"alpha": 1 / 6, "beta": 0.5}, like=w.x))


def _layer_norm(w: _Writer) -> ir.Value:
    """``d / √(mean(d²) + epsilon) · gain + bias`` with d = x − mean(x)."""
    axes = _axes(w.node, w.x) or [-1]
    return w.weighted(w.normalized(w.op("Sub", w.x, w.mean(w.x, axes)), axes))


def _rms_norm(w: _Writer) -> ir.Value:
    """``x / √(mean(x²) + epsilon) · gain``."""
    return w.weighted(w.normalized(w.x, _axes(w.node, w.x) or [-1]))


def _group_norm(w: _Writer) -> ir.Value:
    """``InstanceNormalization([N, G, …]) · gain + bias`` of opset 21, which has one gain a channel."""
    groups, name = w.node.attributes.get_int("num_groups", 1) or 1, w.node.outputs[0].name or "group_norm"
    kind = (w.x.dtype or ir.DataType.FLOAT).numpy()
    ones, zeros = (w.rw.const(np.full(groups, n, kind), f"{name}_unit") for n in (1, 0))
    shape = w.rw.const(np.asarray([0, groups, -1], np.int64), f"{name}_groups")
    apart = w.rw.op("Reshape", [w.x, shape], dtype=w.x.dtype)
    epsilon = {"epsilon": w.node.attributes.get_float("epsilon", 1e-5)}
    normal = w.rw.op("InstanceNormalization", [apart, ones, zeros], epsilon, dtype=w.x.dtype)
    back = w.op("Reshape", normal, w.rw.op("Shape", [w.x], dtype=ir.DataType.INT64))
    per_channel = (-1, *[1] * ((rank(w.x) or 2) - 2))
    gain, bias = (array.reshape(per_channel) for array in constants(w.node.inputs[1:3]) or ())
    scaled = w.op("Mul", back, w.rw.const(gain, f"{name}_scale"))
    return w.op("Add", scaled, w.rw.const(bias, f"{name}_bias"))


def _einsum(w: _Writer) -> ir.Value:
    """A MatMul between Transposes and Reshapes."""
    equation = read_equation(w.node)
    assert equation is not None, "compact_recipe has asked"
    return write_einsum(w.node, equation, w.rw)


def _reduced(w: _Writer) -> ir.Value:
    """``ReduceSum(x²)`` or ``ReduceSum(|x|)``."""
    square = w.node.op_type == "ReduceSumSquare"
    powers = w.op("Mul", w.x, w.x) if square else w.op("Abs", w.x)
    inputs, attributes = [powers, *w.node.inputs[1:]], dict(w.node.attributes)
    if "axes" in attributes:
        axes = attributes.pop("axes").as_ints()
        inputs.append(w.rw.const(np.asarray(axes, np.int64), "axes"))
    return w.rw.op("ReduceSum", inputs, attributes, like=w.node.outputs[0])


_RECIPES: Mapping[str, Callable[[_Writer], ir.Value]] = {
    "Einsum": _einsum,
    "Gelu": _gelu,
    "GroupNormalization": _group_norm,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "ReduceL1": _reduced,
    "ReduceSumSquare": _reduced,
    "Swish": _swish,
}
