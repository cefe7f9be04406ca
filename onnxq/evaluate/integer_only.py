"""Proof that nothing in a model is a float: every value, initializer and attribute, in every scope.

An empty answer of :func:`float_tensors` means that the model computes on integers and booleans only. A value
whose type nobody knows counts as a finding, since no proof can rest on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxq.graph.match import consumers
from onnxq.graph.rewriter import describe
from onnxq.graph.scopes import Scope, scopes

__all__ = ["FloatTensor", "float_tensors", "is_float_type"]


@dataclass(frozen=True)
class FloatTensor:
    """Something float in a model: its name, the scope it is in, and why it is there."""

    name: str
    where: str
    reason: str


def is_float_type(dtype: ir.DataType | None) -> bool:
    """Whether an element type is a floating-point or complex number of any width."""
    return dtype is not None and (dtype.is_floating_point() or dtype.name.startswith("COMPLEX"))


def float_tensors(model: ir.Model) -> list[FloatTensor]:
    """Everything in a model that is float, or of unknown type, in the order of the graph.

    Types that the file does not give are inferred on a copy. An attribute counts if it holds floats, even one
    that an integer operator ignores.
    """
    if any(value.dtype is None for scope in scopes(model) for value in _values(scope)):
        model = ShapeInferencePass()(model.clone()).model
    return [found for scope in scopes(model) for found in _findings(scope)]


def _values(scope: Scope) -> Iterator[ir.Value]:
    yield from scope.graph.inputs
    if isinstance(scope.graph, ir.Graph):
        yield from (value for value in scope.graph.initializers.values() if not value.is_graph_input())
    for node in scope.graph:
        yield from (value for value in node.outputs if value.name or list(value.uses()))


def _findings(scope: Scope) -> Iterator[FloatTensor]:
    for value in _values(scope):
        if value.dtype is None or is_float_type(value.dtype):
            yield FloatTensor(value.name or "", scope.path, _reason(value))
    for node in scope.graph:
        for attribute in node.attributes.values():
            if (kind := _attribute(attribute)) is not None:
                yield FloatTensor(attribute.name, scope.path, f"{kind} attribute of {describe(node)}")


def _reason(value: ir.Value) -> str:
    kind = "of unknown type" if value.dtype is None else str(value.dtype.name).lower()
    maker = value.producer()
    readers = consumers(value)
    reader = f", read by {describe(readers[0])}" if readers else ", read by no node"
    if not readers and value.is_graph_output():
        reader = ", an output of the model that depends on no input: remove it, or keep it as integers"
    if maker is not None:
        return f"{kind}, made by {describe(maker)}"
    if value.is_graph_input():
        return f"{kind}, input of the graph{reader}"
    return f"{kind} initializer{reader}"


def _attribute(attribute: ir.Attr) -> str | None:
    """What float thing an attribute holds, if any."""
    if attribute.is_ref():
        return None
    kind = attribute.type
    if kind in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS):
        return "float"
    tensors = (
        [attribute.as_tensor()]
        if kind == ir.AttributeType.TENSOR
        else list(attribute.as_tensors())
        if kind == ir.AttributeType.TENSORS
        else []
    )
    return next((t.dtype.name.lower() + " tensor" for t in tensors if is_float_type(t.dtype)), None)
