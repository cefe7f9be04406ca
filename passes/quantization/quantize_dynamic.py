"""Weights as integers, activations measured while the model runs."""

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.errors import PassError
from onnxq.graph.match import constant, get_input, is_float, is_op
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import Scope, all_nodes, scopes
from onnxq.passes.quantization._measured_codes import MIDDLE, Activation, per_row, per_tensor
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.formats import IntFormat
from onnxq.quant.operators import weight_axis
from onnxq.quant.plan import NodeDecision, Plan
from onnxq.quant.qparams import qparams_from_range

__all__ = ["QuantizeDynamic"]

OPSET = 11
"""The opset that brought DynamicQuantizeLinear."""

_WEIGHT = IntFormat(8, signed=True, narrow=True)
_LARGEST_SUM = 2**31 - 1

Home: TypeAlias = ir.Graph | ir.Function | None


@dataclass(frozen=True)
class QuantizeDynamic(Pass):
    """Multiply on integers by constant weights; the activation's scale is measured at run time.

           x · W  =>  Cast(MatMulInteger(q, W_q, z, 0)) · (s · s_w)      q, s, z = DynamicQuantizeLinear(x)

    No calibration data is needed, and a range can never be wrong, at the price of finding it for every input.
    W_q is int8 with one scale per output channel; the scales multiply the finished sums.

    1. MatMul and Gemm by a constant matrix, with ``conv`` also Conv. Matrices that read one tensor share its
       DynamicQuantizeLinear. ONNX Runtime fuses all of this, with the Add of a bias, into one operator.
    2. With ``per_token`` every row of x has a scale of its own, so that one large token does not coarsen the
       others: s = max|x| / 127 along the last axis, q = round(x / s) + 128.
    3. A row, tensor or channel that is all zeros stays so.

    A product of two activations stays float, and so does a sum that could leave int32.
    """

    name: ClassVar[str] = "quantize-dynamic"
    contract: ClassVar[Contract] = Contract.APPROXIMATE

    per_token: bool = False
    conv: bool = False

    @property
    def _roots(self) -> tuple[str, ...]:
        return ("MatMul", "Gemm", "Conv") if self.conv else ("MatMul", "Gemm")

    def plan(self, model: ir.Model, context: Context, /) -> Plan:
        """Which nodes this pass would quantize; values get no Q/DQ."""
        nodes = ((node, scope) for scope in scopes(model) for node in scope.graph)
        found = (self._decision(node, scope) for node, scope in nodes if not is_op(node, "Constant"))
        return Plan(context.target.name, tuple(found), ())

    def _decision(self, node: ir.Node, scope: Scope) -> NodeDecision:
        able = is_op(node, *self._roots)
        reason = _why_not(node) if able else "integers only multiply: quantize-dynamic leaves it float"
        floats = any(is_float(value) for value in (*node.inputs, *node.outputs))
        why = reason or "integer operator, its input is quantized at run time"
        name = next((output.name for output in node.outputs if output.name), node.name or "")
        return NodeDecision(name, node.op_type, scope.path, not reason, why, floats)

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        opset = rw.model.opset_imports.get("") or 0
        nodes = [node for node in all_nodes(rw.model) if is_op(node, *self._roots)]
        if nodes and opset < OPSET:
            raise PassError(f"quantize-dynamic needs opset {OPSET} or later, the model has {opset}")
        work = _Work(rw, self.per_token, opset)
        for node in nodes:
            if reason := _why_not(node):
                rw.skip(node, reason)
            else:
                work.quantize(node)


@dataclass(frozen=True, eq=False)
class _Weight:
    """codes: int8 [K, N], or uint8 of Conv. scale: float32, broadcasts to the result."""

    codes: ir.Value
    zero_point: ir.Value
    scale: ir.Value


@dataclass
class _Work:
    rw: Rewriter
    per_token: bool
    opset: int
    activations: dict[tuple[ir.Value, Home, bool], Activation] = field(default_factory=dict)
    weights: dict[tuple[ir.Value, Home, int, float], _Weight] = field(default_factory=dict)

    def quantize(self, node: ir.Node) -> None:
        """Replace one linear node by its integer form."""
        x, w = (node.inputs[i] for i in (0, 1))
        assert x is not None, "checked before"
        assert w is not None, "checked before"
        rows = self.per_token and not is_op(node, "Conv")
        activation = self._activation(x, node.graph, rows)
        weight = self._weight(node, w)
        kind = "ConvInteger" if is_op(node, "Conv") else "MatMulInteger"
        inputs = [activation.codes, weight.codes, activation.zero_point, weight.zero_point]
        attributes = node.attributes if is_op(node, "Conv") else {}
        out = node.outputs[0]
        sums = self.rw.op(kind, inputs, attributes, like=out, dtype=ir.DataType.INT32)
        real = self.rw.op("Cast", [sums], {"to": int(ir.DataType.FLOAT)}, like=out)
        if rows:
            real = self._op("Mul", real, activation.scale, like=out)
            real = self._op("Mul", real, weight.scale, like=out)
        else:
            shape = weight.scale.shape
            scale = self.rw.op("Mul", [activation.scale, weight.scale], dtype=ir.DataType.FLOAT, shape=shape)
            real = self._op("Mul", real, scale, like=out)
        self.rw.replace(node, self._biased(node, real))

    def _activation(self, x: ir.Value, home: Home, rows: bool) -> Activation:
        """The codes of ``x``, made once in each graph."""
        key = x, home, rows
        if key not in self.activations:
            self.activations[key] = per_row(x, self.rw, self.opset) if rows else per_tensor(x, self.rw)
        return self.activations[key]

    def _weight(self, node: ir.Node, w: ir.Value) -> _Weight:
        """The weight as integers, made once in each graph."""
        alpha = node.attributes.get_float("alpha", 1.0)
        array = constant(w)
        assert array is not None, "checked before"
        axis = weight_axis(node, array.ndim)
        assert axis is not None, "linear operators with a constant matrix have one"
        key = w, node.graph, axis, alpha
        if key not in self.weights:
            codes, scale = _quantized(array, axis)
            shift = MIDDLE if is_op(node, "Conv") else 0
            if is_op(node, "Conv"):
                scale = scale.reshape(-1, *[1] * (array.ndim - 2))
            elif axis == 0:
                codes = codes.T
            dtype = np.uint8 if shift else np.int8
            name = w.name or "weight"
            self.weights[key] = _Weight(
                self.rw.const((codes.astype(np.int16) + shift).astype(dtype), f"{name}_quantized"),
                self.rw.const(np.asarray(shift, dtype), f"{name}_zero_point"),
                self.rw.const((scale * np.float32(alpha)).astype(np.float32), f"{name}_scale"),
            )
        return self.weights[key]

    def _biased(self, node: ir.Node, product: ir.Value) -> ir.Value:
        """The product plus the operator's own bias."""
        bias = get_input(node, 2) if is_op(node, "Gemm", "Conv") else None
        if bias is None:
            return product
        name, array = bias.name or "bias", constant(bias)
        beta = node.attributes.get_float("beta", 1.0)
        if is_op(node, "Conv"):
            spatial = len(node.inputs[1].shape or ()) - 2  # type: ignore[union-attr]
            assert array is not None, "checked before"
            bias = self.rw.const(array.reshape(-1, *[1] * spatial), f"{name}_per_channel")
        elif beta != 1.0:
            assert array is not None, "checked before"
            bias = self.rw.const((array * np.float32(beta)).astype(np.float32), f"{name}_scaled")
        return self._op("Add", product, bias, like=product)

    def _op(self, op_type: str, a: ir.Value, b: ir.Value, *, like: ir.Value) -> ir.Value:
        return self.rw.op(op_type, [a, b], like=like, dtype=ir.DataType.FLOAT)


def _why_not(node: ir.Node) -> str:
    """Why a linear node stays float; empty if it can be quantized."""
    weight = constant(get_input(node, 1))
    if weight is None:
        return "multiplies two activations, or its weight is quantized already"
    if constant(get_input(node, 0)) is not None:
        return "its inputs are constant: run simplify"
    if weight.dtype != np.float32 or not weight.size or not np.isfinite(weight).all():
        return "its weight is empty, not float32, or holds NaN or infinity"
    if not is_op(node, "Conv") and weight.ndim != 2:
        return f"its weight has {weight.ndim} axes, not two"
    if is_op(node, "Gemm") and node.attributes.get_int("transA", 0) != 0:
        return "it transposes its first input; put a Transpose there"
    bias = get_input(node, 2)
    needs_constant = is_op(node, "Conv") or node.attributes.get_float("beta", 1.0) != 1.0
    if bias is not None and needs_constant and constant(bias) is None:
        return "its bias is computed at run time"
    axis = weight_axis(node, weight.ndim) or 0
    terms = weight.size // weight.shape[axis]
    return "its sums could leave int32" if terms * 255 * 127 > _LARGEST_SUM else ""


def _quantized(weight: FloatArray, axis: int) -> tuple[IntArray, FloatArray]:
    """Codes of the weight's shape and one scale a channel."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    qparams = qparams_from_range(weight.min(others), weight.max(others), _WEIGHT, symmetric=True, axis=axis)
    return qparams.quantize(weight), qparams.scale
