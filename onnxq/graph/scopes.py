"""Every place of a model that holds nodes: the main graph, If/Loop/Scan bodies, functions.

``for node in graph`` sees one level only; a pass that forgets the others leaves half a model
untouched. Everything that walks a model walks it through here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

__all__ = ["Scope", "all_nodes", "named_values", "scopes", "subgraphs"]


@dataclass(frozen=True)
class Scope:
    """A graph or function and where it stands, such as ``main/If_3.then_branch``."""

    graph: ir.Graph | ir.Function
    path: str

    @property
    def is_function(self) -> bool:
        return isinstance(self.graph, ir.Function)


def subgraphs(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    """The bodies a node carries, with the attribute's name; in the order of the attributes' names."""
    for name in sorted(node.attributes):
        attribute = node.attributes[name]
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield name, attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from ((f"{name}[{i}]", graph) for i, graph in enumerate(attribute.as_graphs()))


def scopes(model: ir.Model) -> Iterator[Scope]:
    """The main graph and its bodies, depth first, then every function and its bodies."""
    yield from _nested(Scope(model.graph, "main"))
    for function in model.functions.values():
        yield from _nested(Scope(function, f"{function.domain}::{function.name}"))


def _nested(scope: Scope) -> Iterator[Scope]:
    stack = [scope]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(
            Scope(graph, f"{current.path}/{node.name or node.op_type}.{name}")
            for node in reversed(list(current.graph))
            for name, graph in reversed(list(subgraphs(node)))
        )


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of every scope. Each scope is listed before it is walked, so edits are safe."""
    for scope in scopes(model):
        yield from list(scope.graph)


def named_values(model: ir.Model) -> dict[str, ir.Value]:
    """Every value of every scope by its name."""
    found: dict[str, ir.Value] = {}
    for scope in scopes(model):
        values = [*scope.graph.inputs, *(output for node in scope.graph for output in node.outputs)]
        if isinstance(scope.graph, ir.Graph):
            values += scope.graph.initializers.values()
        found.update((value.name, value) for value in values if value.name)
    return found
