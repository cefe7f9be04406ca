"""An If that always takes the same branch becomes that branch."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import constant, is_op, scalar
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes, subgraphs
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["InlineConstantIf"]


@dataclass(frozen=True)
class InlineConstantIf(Pass):
    """Put the nodes of a branch in place of an If whose condition is constant.

           y = If(True) {then: z = f(x) → z, else: …}  =>  y = f(x)

    Conditions on the shapes of inputs become constant where these are fixed, and what stands in a branch is
    never quantized. An If inside a branch is done before the one around it. A branch with a Loop, Scan or
    undecided If in it stays.
    """

    name = "inline-constant-if"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        for node in reversed(list(all_nodes(rw.model))):
            if not is_op(node, "If") or node.graph is None or (taken := scalar(node.inputs[0])) is None:
                continue
            branch = node.attributes["then_branch" if taken else "else_branch"].as_graph()
            if nested := [inner for inner in branch if any(True for _ in subgraphs(inner))]:
                rw.skip(node, f"its branch holds a {nested[0].op_type} with a body of its own")
                continue
            rw.replace(node, *_copied(branch, rw))


def _copied(branch: ir.Graph, rw: Rewriter) -> list[ir.Value]:
    """The outputs of a branch, made by prepared copies of its nodes."""
    now: dict[ir.Value, ir.Value] = {}
    for value in branch.initializers.values():
        array = constant(value)
        assert array is not None, "initializers of a branch cannot be inputs"
        now[value] = rw.const(array, value.name or "constant")
    for node in branch:
        inputs = [None if value is None else now.get(value, value) for value in node.inputs]
        first = rw.op(
            node.op_type,
            inputs,
            dict(node.attributes),
            domain=node.domain,
            outputs=len(node.outputs),
            name=rw.unique(node.name) if node.name else None,
        )
        made = first.producer()
        assert made is not None, "rw.op prepares a node"
        for was, copy in zip(node.outputs, made.outputs, strict=True):
            copy.type, copy.shape = was.type, None if was.shape is None else was.shape.copy()
            now[was] = copy
    return [now.get(value, value) for value in branch.outputs]
