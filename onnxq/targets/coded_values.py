"""Which Q/DQ pairs of a model code weights and which activations, for the rules on them.

Weights and biases are recognized by the linear operator they enter; every other coded value is an activation.
"""

from collections.abc import Iterator
from typing import TypeAlias

import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_op
from onnxq.graph.scopes import all_nodes
from onnxq.quant.operators import LINEAR, operands
from onnxq.quant.qdq import dequantized, qparams_of
from onnxq.quant.qparams import QParams

__all__ = ["Breaches", "activations", "coders", "place", "results", "weights"]

Breaches: TypeAlias = Iterator[tuple[str, str]]
"""What a rule's check yields: (where, what is wrong)."""


def coders(model: ir.Model) -> Iterator[ir.Node]:
    """Every Q and DQ."""
    return (node for node in all_nodes(model) if is_op(node, "QuantizeLinear", "DequantizeLinear"))


def weights(model: ir.Model) -> Iterator[tuple[ir.Node, QParams, ir.Node]]:
    """The DQ of each weight of a linear operator with dequantized data, its parameters, the operator."""
    for node in all_nodes(model):
        if not is_op(node, *LINEAR) or operands(node).weight is None:
            continue
        found = dequantized(get_input(node, 1))
        if found is not None and dequantized(get_input(node, 0)) is not None:
            yield found[0], found[1], node


def activations(model: ir.Model) -> Iterator[tuple[ir.Node, QParams]]:
    """Every Q and DQ of an activation and its parameters."""
    constants = {pair for pair, _, _ in weights(model)}
    for node in coders(model):
        if node in constants or constant(get_input(node, 0)) is not None or _is_bias(node):
            continue
        if any(pair in constants for pair in consumers(node.outputs[0])):
            continue
        if (qparams := qparams_of(node)) is not None:
            yield node, qparams


def _is_bias(node: ir.Node) -> bool:
    codes = node.inputs[0]
    return codes is not None and codes.dtype == ir.DataType.INT32


def results(value: ir.Value) -> list[QParams]:
    """The parameters of the Q nodes that read a value."""
    readers = (reader for reader in consumers(value) if is_op(reader, "QuantizeLinear"))
    return [qparams for reader in readers if (qparams := qparams_of(reader)) is not None]


def place(node: ir.Node) -> str:
    """How a breach names a node; Q and DQ by the value they code."""
    if is_op(node, "QuantizeLinear", "DequantizeLinear"):
        source = node.inputs[0] if is_op(node, "QuantizeLinear") else node.outputs[0]
        return f"{node.op_type} of '{'' if source is None else source.name}'"
    return f"{node.op_type} '{node.name or node.outputs[0].name}'"
