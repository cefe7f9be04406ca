"""Single cuts in a graph: what the Rewriter's edits are made of. Nothing else may call them."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import Array
from onnxq.graph.scopes import subgraphs

__all__ = [
    "AttributeValue",
    "attributes_of",
    "constant_node",
    "drop_if_unread",
    "home",
    "insert_behind",
    "move_output",
    "remove",
    "take_over",
]

AttributeValue: TypeAlias = (
    ir.Attr | int | float | str | Sequence[int] | Sequence[float] | Sequence[str] | Array | None
)
"""What an attribute may be given as; None is no attribute."""


def attributes_of(given: Mapping[str, AttributeValue]) -> list[ir.Attr]:
    """Attributes as a node takes them; arrays become tensors."""
    arrays = {k: ir.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    return ir.convenience.convert_attributes(arrays)


def home(part: ir.Node | ir.Value) -> ir.Graph | ir.Function:
    """The graph or function that a node or value is in.

    Raises:
        ValueError: it is in none.
    """
    if part.graph is None:
        what = f"value '{part.name}'" if isinstance(part, ir.Value) else f"{part.op_type} '{part.name}'"
        raise ValueError(f"{what} is in no graph")
    return part.graph


def insert_behind(value: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Put nodes right behind the maker of a value; what no node makes is there from the graph's begin on."""
    graph, maker = home(value), value.producer()
    if maker is not None:
        graph.insert_after(maker, nodes)
    elif (first := next(iter(graph), None)) is not None:
        graph.insert_before(first, nodes)
    else:
        graph.extend(nodes)


def take_over(was: ir.Value, now: ir.Value, *, named: bool) -> None:
    """``now`` takes the readers and, where it has none of its own, type and shape of ``was``."""
    now.type = now.type or was.type
    if now.shape is None or (named and was.shape is not None):
        now.shape = was.shape
    ir.convenience.replace_all_uses_with(was, now, replace_graph_outputs=True)
    if named:
        now.name, was.name = was.name, None


def move_output(was: ir.Value, now: ir.Value) -> None:
    """Wherever ``was`` is an output of its graph, ``now`` is."""
    outputs = home(was).outputs
    for i, output in enumerate(outputs):
        if output is was:
            outputs[i] = now


def constant_node(value: ir.Value) -> ir.Node:
    """A node that makes a constant where there are no initializers; the value itself becomes its output."""
    tensor, value.const_value = value.const_value, None
    assert tensor is not None, "Rewriter.const gives every constant its tensor"
    return ir.Node("", "Constant", [], [ir.AttrTensor("value", tensor)], outputs=[value])


def remove(node: ir.Node) -> list[ir.Value]:
    """Take a node out of its graph; returns the values that it and its bodies read."""
    sources = [value for value in node.inputs if value is not None]
    for _, body in subgraphs(node):
        for inner in list(body.all_nodes()):
            sources += [v for v in inner.inputs if v is not None and v.graph is not inner.graph]
            inner.resize_inputs(0)
    home(node).remove(node, safe=True)
    return sources


def drop_if_unread(value: ir.Value) -> None:
    """Remove an initializer or Constant node that has lost its last reader."""
    if value.is_graph_input() or value.is_graph_output() or value.uses():
        return
    maker = value.producer()
    if maker is not None:
        if maker.op_type == "Constant" and maker.graph is not None:
            maker.graph.remove(maker, safe=True)
    elif value.is_initializer() and value.graph is not None and value.name is not None:
        value.graph.initializers.pop(value.name, None)
