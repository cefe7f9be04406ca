"""An Expand that repeats nothing, or whose readers broadcast by themselves, goes."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.length_algebra import Shape, broadcast
from onnxq.graph.length_rules import BROADCASTING
from onnxq.graph.lengths import Lengths
from onnxq.graph.match import consumers, is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["EliminateNoopExpand"]


@dataclass(frozen=True)
class EliminateNoopExpand(Pass):
    """Let the readers of an Expand read its input, where that makes no difference to them.

           e = Expand(m, Shape(x))      y = x − e
        => y = x − m

    Applies where the result is as long as the input along every axis, or where every reader is an elementwise
    operator whose result is as long without it. Open axes count as equally long where the graph says so:
    through Shape, Gather, Slice and Concat, and through what a Reshape must leave over.
    """

    name = "eliminate-noop-expand"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        expands = [node for node in all_nodes(rw.model) if is_op(node, "Expand")]
        lengths = Lengths(rw.model) if expands else None
        for node in expands:
            x, y = node.inputs[0], node.outputs[0]
            if x is None or lengths is None or (before := lengths.of(x)) is None:
                continue
            if before == lengths.of(y) or _idle(node, before, lengths):
                rw.bypass(node, x)


def _idle(expand: ir.Node, before: Shape, lengths: Lengths) -> bool:
    """Whether all readers broadcast to the same lengths without it."""
    y = expand.outputs[0]
    if y.is_graph_output() or not y.uses():
        return False
    for reader in consumers(y):
        if not is_op(reader, *BROADCASTING):
            return False
        shapes = [before if value is y else lengths.of(value) for value in reader.inputs]
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes) or tuple(broadcast(known)) != lengths.of(reader.outputs[0]):
            return False
    return True
