"""The definition that the ONNX standard itself gives of some operators, as nodes of older operators."""

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import onnx
import onnx_ir as ir
from onnx import defs, helper

from onnxq.graph.opset import first_objection
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.graph.scopes import subgraphs
from onnxq.passes.lowering._expansions import Recipe

__all__ = ["body_recipe"]


def body_recipe(node: ir.Node, now: int, opset: int) -> Recipe | str:
    """How to write a node of opset ``now`` for ``opset`` by its standard definition, or why not.

    The recipe makes only the nodes that the node's outputs need.
    """
    schema = defs.get_schema(node.op_type, now, "")
    proto = _body(node, cast(_Schema, schema))
    if isinstance(proto, str):
        return proto
    del proto.output[len(node.outputs) :]
    if not set(proto.output) <= {name for inner in proto.node for name in inner.output}:
        return "its definition does not make all of its outputs"
    function = ir.serde.deserialize_function(proto)
    written_in = function.opset_imports.get("", now)
    for inner in function:
        if inner.domain or list(subgraphs(inner)):
            return f"its definition has a body of its own ({inner.op_type}) and cannot be written out"
        reason = first_objection(inner, written_in, opset)
        if reason is not None:
            return f"its definition cannot be written for opset {opset}: {inner.op_type} {reason}"
    return lambda rw: _write(node, function, _defaults(schema), rw)


class _Schema(Protocol):
    """What an ``OpSchema`` also has, but its type stub does not tell."""

    @property
    def has_function(self) -> bool: ...
    @property
    def has_context_dependent_function(self) -> bool: ...
    @property
    def function_opset_versions(self) -> Sequence[int]: ...
    @property
    def context_dependent_function_opset_versions(self) -> Sequence[int]: ...
    def get_function_with_opset_version(self, version: int, /) -> bytes: ...
    def get_context_dependent_function_with_opset_version(
        self, version: int, node: bytes, types: Sequence[bytes], /
    ) -> bytes: ...


def _body(node: ir.Node, schema: _Schema) -> onnx.FunctionProto | str:
    if list(subgraphs(node)) or not (schema.has_function or schema.has_context_dependent_function):
        return "it has no definition in older operators"
    if schema.has_function:
        versions = schema.function_opset_versions
        return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(versions[0]))
    version, types = schema.context_dependent_function_opset_versions[-1], [_type(i) for i in node.inputs]
    found = onnx.FunctionProto.FromString(
        schema.get_context_dependent_function_with_opset_version(
            version, ir.to_proto(node).SerializeToString(), types
        )
    )
    if any(i is not None and i.dtype is None for i in node.inputs) or not found.node:
        return "its definition depends on dtypes and shapes of its inputs that are not known"
    return found


def _type(value: ir.Value | None) -> bytes:
    if value is None or value.dtype is None:
        return onnx.TypeProto().SerializeToString()
    shape = None if value.shape is None else [d if isinstance(d, int) else str(d) for d in value.shape]
    return helper.make_tensor_type_proto(int(value.dtype), shape).SerializeToString()


def _defaults(schema: defs.OpSchema) -> Mapping[str, ir.Attr]:
    given = {name: attribute.default_value for name, attribute in schema.attributes.items()}
    return {
        name: ir.serde.deserialize_attribute(default)
        for name, default in given.items()
        if default.type != onnx.AttributeProto.UNDEFINED
    }


def _write(
    node: ir.Node, function: ir.Function, defaults: Mapping[str, ir.Attr], rw: Rewriter
) -> Sequence[ir.Value]:
    """Prepare the nodes of the body that the outputs of ``node`` need, on the inputs of ``node``."""
    given = [*node.inputs, *[None] * len(function.inputs)]
    values: dict[ir.Value, ir.Value | None] = dict(zip(function.inputs, given, strict=False))
    wanted = list(function.outputs)[: len(node.outputs)]
    needed = _needed(function, wanted)
    for inner in function:
        if inner not in needed:
            continue
        attributes = _attributes(inner, node, defaults)
        inputs = [None if value is None else values[value] for value in inner.inputs]
        first = rw.op(inner.op_type, inputs, attributes, outputs=len(inner.outputs))
        maker = first.producer()
        values.update(zip(inner.outputs, maker.outputs if maker is not None else [first], strict=True))
    return [value for output in wanted if (value := values[output]) is not None]


def _needed(function: ir.Function, wanted: Sequence[ir.Value]) -> set[ir.Node]:
    found: set[ir.Node] = set()
    stack = [value.producer() for value in wanted]
    while stack:
        node = stack.pop()
        if node is not None and node not in found:
            found.add(node)
            stack += [value.producer() for value in node.inputs if value is not None]
    return found


def _attributes(
    inner: ir.Node, node: ir.Node, defaults: Mapping[str, ir.Attr]
) -> Mapping[str, AttributeValue]:
    """The body's attributes, where they refer to the operator's: those of the node or their defaults."""
    found: dict[str, AttributeValue] = {}
    for name, attribute in inner.attributes.items():
        if not attribute.is_ref():
            found[name] = attribute
            continue
        source = node.attributes.get(attribute.ref_attr_name or "") or defaults.get(
            attribute.ref_attr_name or ""
        )
        if source is not None:
            found[name] = ir.Attr(name, source.type, source.value)
    return found
