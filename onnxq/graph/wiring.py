"""Whether every value that a loaded graph reads is there, and made before it is read.

onnx-ir invents a value where a node reads a name that nothing makes, and keeps the nodes in the order of the
file, which may be any. Passes rely on neither happening.
"""

import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.rewriter import describe
from onnxq.graph.scopes import scopes, subgraphs

__all__ = ["check_wiring"]


def check_wiring(model: ir.Model) -> None:
    """Refuse values that nothing makes and nodes in a circle; put nodes that stand out of order in order.

    Raises:
        ModelError: names the value, and the node that reads it; or a node without an operator.
    """
    for scope in scopes(model):
        for node in scope.graph:
            _check_node(node)
        for value in scope.graph.outputs:
            if _is_lost(value):
                raise _invalid(f"nothing makes '{value.name}', an output of {scope.path}")
    roots: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for root in roots:
        if not _is_ordered(root, set()):
            _sort(root)


def _check_node(node: ir.Node) -> None:
    if not node.op_type:
        raise _invalid(f"the node that makes '{node.outputs[0].name}' names no operator")
    for value in node.inputs:
        if value is not None and _is_lost(value):
            raise _invalid(f"{describe(node)} reads '{value.name}', which nothing makes")


def _is_lost(value: ir.Value) -> bool:
    return value.producer() is None and not value.is_graph_input() and not value.is_initializer()


def _is_ordered(graph: ir.Graph | ir.Function, made: set[ir.Value]) -> bool:
    """Whether each node of a graph and its bodies stands behind those whose outputs it reads."""
    for node in graph:
        if not all(value is None or value.producer() is None or value in made for value in node.inputs):
            return False
        if not all(_is_ordered(body, made) for _, body in subgraphs(node)):
            return False
        made.update(node.outputs)
    return True


def _sort(graph: ir.Graph | ir.Function) -> None:
    try:
        graph.sort()
    except ValueError as error:
        raise _invalid("its nodes wait for each other in a circle") from error


def _invalid(reason: str) -> ModelError:
    return ModelError(f"it is not valid ONNX: {reason}")
