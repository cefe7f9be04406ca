"""What no output depends on goes."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import scopes, subgraphs
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["EliminateDeadNodes"]


@dataclass(frozen=True)
class EliminateDeadNodes(Pass):
    """Remove nodes, initializers and functions that no output depends on.

           y = Relu(x);  z = Exp(x);  w = Neg(z)          y is the only output
        => y = Relu(x)

    A value that a body of If, Loop or Scan reads is read. A node lives as long as one of its outputs does;
    its other outputs stay. Inputs of graphs always stay, also where nothing reads them.
    """

    name = "eliminate-dead-nodes"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        rw.remove(*_readers_first(rw.model.graph))
        for function in rw.model.functions.values():
            rw.remove(*_readers_first(function))
        rw.drop(*_unread_initializers(rw.model))
        rw.drop_functions(*_uncalled_functions(rw.model))


def _readers_first(graph: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    """Nodes in an order in which all readers of a value come before its maker, bodies included."""
    for node in reversed(list(graph)):
        for _, body in subgraphs(node):
            yield from _readers_first(body)
        yield node


def _unread_initializers(model: ir.Model) -> list[ir.Value]:
    return [
        value
        for scope in scopes(model)
        if isinstance(scope.graph, ir.Graph)
        for value in scope.graph.initializers.values()
        if not (value.uses() or value.is_graph_input() or value.is_graph_output())
    ]


def _uncalled_functions(model: ir.Model) -> list[ir.OperatorIdentifier]:
    called: set[ir.OperatorIdentifier] = set()
    waiting: list[ir.Graph | ir.Function] = [model.graph]
    while waiting:
        for node in ir.traversal.RecursiveGraphIterator(waiting.pop()):
            function = model.functions.get(node.op_identifier())
            if function is not None and node.op_identifier() not in called:
                called.add(node.op_identifier())
                waiting.append(function)
    return [name for name in model.functions if name not in called]
