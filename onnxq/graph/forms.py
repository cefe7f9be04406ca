"""Whether each standard operator has the inputs and attributes that ONNX gives it.

Passes read ``node.inputs[0]`` and ``attribute.as_int()`` and rely on it. ONNX Runtime refuses the same nodes.
"""

from functools import cache

import onnx
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.opset import schema_of
from onnxq.graph.rewriter import describe
from onnxq.graph.scopes import all_nodes
from onnxq.words import plural

__all__ = ["check_forms"]


def check_forms(model: ir.Model) -> None:
    """Hold the nodes of ai.onnx against the schemas of the model's opset; those of other domains are free.

    Raises:
        ModelError: names the node: an input is missing or one too many, or an attribute is missing or of
            another type, or not positive where it has to be.
    """
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
    for node in all_nodes(model):
        if not node.outputs:
            raise ModelError(f"it is not valid ONNX: a node {node.op_type} makes nothing")
        schema = schema_of(node.op_type, opset) if node.domain in ("", "ai.onnx") else None
        if schema is not None and (fault := _fault(node, schema)):
            raise ModelError(f"it is not valid ONNX: {describe(node)} {fault}")


def _fault(node: ir.Node, schema: onnx.defs.OpSchema) -> str:
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        allowed = _span(schema.min_input, schema.max_input)
        return f"has {plural(len(node.inputs), 'input')}, {allowed} are allowed"
    if node.inputs and node.inputs[0] is None and schema.inputs[0].option == _SINGLE:
        return "lacks its first input"
    for name, kind, required in _attributes(schema.name, schema.since_version):
        attribute = node.attributes.get(name)
        if attribute is None and required:
            return f"lacks the attribute '{name}'"
        if attribute is not None and attribute.type.name != kind:
            return f"has the attribute '{name}' as {attribute.type.name}, expected {kind}"
        if attribute is not None and name in _POSITIVE and not _is_positive(attribute):
            return f"has {name}={attribute.value}, expected 1 or more"
    return ""


def _is_positive(attribute: ir.Attr) -> bool:
    if attribute.is_ref():
        return True
    numbers = attribute.as_ints() if attribute.type == ir.AttributeType.INTS else [attribute.as_int()]
    return all(number > 0 for number in numbers)


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} or more" if high > _MANY else f"{low} to {high}"


_MANY = 1000
_POSITIVE = frozenset({"blocksize", "dilations", "group", "kernel_shape", "num_outputs", "strides"})
"""Attributes that tools divide by: onnxsim ends the process at a stride of 0."""
_SINGLE = onnx.defs.OpSchema.FormalParameterOption.Single


@cache
def _attributes(op_type: str, version: int) -> list[tuple[str, str, bool]]:
    schema = onnx.defs.get_schema(op_type, version, "")
    return [(name, str(a.type).rpartition(".")[2], a.required) for name, a in schema.attributes.items()]
