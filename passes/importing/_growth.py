"""Graphs of a few bytes that ask for any amount of memory before they run."""

from graphlib import TopologicalSorter

import onnx_ir as ir

from onnxq.graph.match import get_input, is_op, scalar
from onnxq.graph.scopes import all_nodes

__all__ = ["MOST_NODES", "huge_range", "nodes_when_inlined"]

_LARGEST_RANGE = 2**24
"""Elements of a constant Range that are still worked out while shapes are inferred."""

MOST_NODES = 2**20
"""More nodes than this are not made of functions that call functions."""


def huge_range(model: ir.Model) -> ir.Node | None:
    """A Range over constants with too many elements: onnx's inference makes them all."""
    return next((node for node in all_nodes(model) if is_op(node, "Range") and _is_huge(node)), None)


def nodes_when_inlined(model: ir.Model) -> int:
    """How many nodes a model has once each call of a function is replaced by its body.

    Raises:
        CycleError: functions call each other in a circle.
    """
    called = {key: [n.op_identifier() for n in f.all_nodes()] for key, f in model.functions.items()}
    sizes: dict[ir.OperatorIdentifier, int] = {}
    for key in TopologicalSorter(called).static_order():
        sizes[key] = sum(max(sizes[callee], 1) for callee in called.get(key, ()))
    return sum(max(sizes.get(node.op_identifier(), 1), 1) for node in model.graph.all_nodes())


def _is_huge(node: ir.Node) -> bool:
    start, limit, step = (scalar(get_input(node, i)) for i in range(3))
    if start is None or limit is None or not step:
        return False
    return (limit - start) / step > _LARGEST_RANGE
