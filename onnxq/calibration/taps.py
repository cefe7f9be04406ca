"""Make any value of a model visible as an output, those inside If, Loop and Scan bodies included.

A value of the main graph can be asked of ONNX Runtime by name. One inside a body is carried out through an
added output of the node that owns the body, level by level:

    If           the other branch gives an empty array, so a value appears when its branch was taken
    Loop, Scan   an added scan output stacks the value of every iteration along a new axis 0

Statistics ignore empty arrays: a value whose branch is never taken ends with a count of zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.scopes import scopes, subgraphs

__all__ = ["Tapped", "tap"]


@dataclass(frozen=True)
class Tapped:
    """A model in which each wanted value is found in the main graph, under the name ``names`` gives it."""

    model: ir.Model
    names: dict[str, str]


def tap(model: ir.Model, wanted: Iterable[str]) -> Tapped:
    """The model itself if all wanted values are in its main graph, else a changed copy with the same tensors.

    Raises:
        ModelError: there is no such value, several bodies use its name, or it is inside a function or a
            body that nothing can be carried out of.
    """
    names = {name: name for name in wanted}
    main = {value.name for value in _values(model.graph)}
    if inner := [name for name in names if name not in main]:
        model = model.clone()
        owners = _owners(model)
        found = _find(model, set(inner))
        for name in inner:
            names[name] = _carry_out(found[name], owners, name)
    return Tapped(model, names)


_Owners = dict[ir.Graph, ir.Node]


def _values(graph: ir.Graph | ir.Function) -> list[ir.Value]:
    return [*graph.inputs, *(value for node in graph for value in node.outputs if value.name)]


def _owners(model: ir.Model) -> _Owners:
    return {body: node for scope in scopes(model) for node in scope.graph for _, body in subgraphs(node)}


def _find(model: ir.Model, names: set[str]) -> dict[str, ir.Value]:
    found: dict[str, ir.Value] = {}
    for scope in scopes(model):
        for value in _values(scope.graph):
            if value.name not in names:
                continue
            if value.name in found:
                raise ModelError(
                    f"value '{value.name}' occurs in several bodies; make the names unique first"
                )
            if scope.is_function:
                raise ModelError(f"value '{value.name}' is inside function {scope.path}; inline it first")
            found[value.name] = value
    if missing := sorted(names - found.keys()):
        raise ModelError(f"the model has no value '{missing[0]}' to observe")
    return found


def _carry_out(value: ir.Value, owners: _Owners, name: str) -> str:
    level = 0
    while isinstance(value.graph, ir.Graph) and (owner := owners.get(value.graph)) is not None:
        level += 1
        value = _one_level(value, value.graph, owner, f"{name}__tap{level}")
    return value.name or name


def _one_level(value: ir.Value, body: ir.Graph, owner: ir.Node, name: str) -> ir.Value:
    if owner.domain or owner.op_type not in ("If", "Loop", "Scan"):
        raise ModelError(
            f"value '{name}' is in a body of {owner.op_type}, and nothing can be carried out of it"
        )
    kind = value.dtype or ir.DataType.FLOAT
    for attribute, graph in subgraphs(owner):
        inner = _copy_of(value) if graph is body else _empty(kind)
        inner.name = f"{name}_{attribute}"
        graph.append(_maker(inner))
        graph.outputs.append(inner)
    for attribute in ("scan_output_axes", "scan_output_directions"):
        if attribute in owner.attributes:
            entries = [*owner.attributes[attribute].as_ints(), 0]
            owner.attributes[attribute] = ir.AttrInt64s(attribute, entries)
    owner.resize_outputs(len(owner.outputs) + 1)
    outside = owner.outputs[-1]
    outside.name, outside.type = name, ir.TensorType(kind)
    return outside


def _copy_of(value: ir.Value) -> ir.Value:
    """ONNX Runtime refuses a body output that is a value of an outer scope or an input; a copy is neither."""
    node = ir.Node("", "Identity", [value], num_outputs=1)
    node.outputs[0].type = ir.TensorType(value.dtype or ir.DataType.FLOAT)
    return node.outputs[0]


def _empty(kind: ir.DataType) -> ir.Value:
    tensor = ir.tensor(np.empty(0, kind.numpy()))
    node = ir.Node("", "Constant", [], [ir.AttrTensor("value", tensor)], num_outputs=1)
    node.outputs[0].type = ir.TensorType(kind)
    return node.outputs[0]


def _maker(value: ir.Value) -> ir.Node:
    node = value.producer()
    if node is None:
        raise ValueError(f"no node makes '{value.name}'")
    return node
