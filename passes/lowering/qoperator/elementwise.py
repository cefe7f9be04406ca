"""Operators of com.microsoft on codes: sums, products, activations, averages, Softmax, Concat, Where.

    QLinearAdd, QLinearMul(a, s_a, z_a, b, s_b, z_b, s_y, z_y)          with broadcasting
    QLinearSigmoid, …LeakyRelu, …Softmax, …AveragePool, …GlobalAveragePool(x, s_x, z_x, s_y, z_y)
    QLinearConcat(s_y, z_y, a, s_a, z_a, b, s_b, z_b, …)
    QLinearWhere(condition, a, s_a, z_a, b, s_b, z_b, s_y, z_y)

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, rank
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.qoperator.arguments import MICROSOFT, activation, node, result, triple

__all__ = [
    "lower_average_pool",
    "lower_binary",
    "lower_concat",
    "lower_mean",
    "lower_softmax",
    "lower_unary",
    "lower_where",
]

SOFTMAX_OPSET = 13
"""From here on Softmax normalizes along one axis."""


def lower_binary(region: Region, rw: Rewriter) -> ir.Value:
    """Add and Mul."""
    inputs = [value for i in (0, 1) for value in triple(rw, activation(region, i))]
    inputs += result(rw, region)
    return node(rw, region, f"QLinear{region.node.op_type}", inputs, domain=MICROSOFT)


def lower_unary(region: Region, rw: Rewriter) -> ir.Value:
    """Sigmoid, LeakyRelu and GlobalAveragePool."""
    return _unary(region, rw, f"QLinear{region.node.op_type}", region.node.attributes)


def lower_softmax(region: Region, rw: Rewriter) -> ir.Value:
    """Softmax along one axis, which QLinearSoftmax is told by an opset."""
    axis = region.node.attributes.get_int("axis", -1)
    return _unary(region, rw, "QLinearSoftmax", {"axis": axis, "opset": SOFTMAX_OPSET})


def lower_average_pool(region: Region, rw: Rewriter) -> ir.Value:
    """AveragePool without dilations."""
    attributes = dict(region.node.attributes)
    dilations = attributes.pop("dilations", None)
    if dilations is not None and any(step != 1 for step in dilations.as_ints()):
        raise Refused("QLinearAveragePool has no dilations")
    return _unary(region, rw, "QLinearAveragePool", attributes)


def lower_mean(region: Region, rw: Rewriter) -> ir.Value:
    """ReduceMean over all axes behind the channels: a global average."""
    attributes, axes = region.node.attributes, rank(region.node.inputs[0])
    given = constant(get_input(region.node, 1))
    over = list(attributes.get_ints("axes", [])) if given is None else [int(i) for i in given]
    if axes is None or axes < 3 or sorted(axis % axes for axis in over) != list(range(2, axes)):
        raise Refused("com.microsoft averages over all axes behind the second only")
    if attributes.get_int("keepdims", 1):
        return _unary(region, rw, "QLinearGlobalAveragePool", {})
    x, dtype = activation(region, 0), region.output.format.ir_dtype
    inputs = [*triple(rw, x), *result(rw, region)]
    mean = rw.op("QLinearGlobalAveragePool", inputs, domain=MICROSOFT, dtype=dtype)
    squeezed = rw.const(np.arange(2, axes, dtype=np.int64), f"{region.result.name}_axes")
    return node(rw, region, "Squeeze", [mean, squeezed])


def lower_concat(region: Region, rw: Rewriter) -> ir.Value:
    """Concat of tensors with different parameters."""
    parts = [activation(region, i) for i in range(len(region.node.inputs))]
    inputs = [*result(rw, region), *(value for part in parts for value in triple(rw, part))]
    return node(rw, region, "QLinearConcat", inputs, region.node.attributes, domain=MICROSOFT)


def lower_where(region: Region, rw: Rewriter) -> ir.Value:
    """Where; its condition passes through."""
    chosen = [value for i in (1, 2) for value in triple(rw, activation(region, i))]
    inputs = [get_input(region.node, 0), *chosen, *result(rw, region)]
    return node(rw, region, "QLinearWhere", inputs, domain=MICROSOFT)


def _unary(region: Region, rw: Rewriter, op_type: str, attributes: Mapping[str, AttributeValue]) -> ir.Value:
    inputs = [*triple(rw, activation(region, 0)), *result(rw, region)]
    return node(rw, region, op_type, inputs, attributes, domain=MICROSOFT)
