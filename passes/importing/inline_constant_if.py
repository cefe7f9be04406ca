"""An If that always takes the same branch becomes that branch."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import constant, is_op, scalar
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.simplify import Simplify
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["InlineConstantIf"]


@dataclass(frozen=True)
class InlineConstantIf(Pass):
    """Put the nodes of a branch in place of an If whose condition is constant.

           y = If(True) {then: z = f(x) → z, else: …}  =>  y = f(x)

    Conditions on the shapes of inputs become constant where these are fixed (fix-shapes), and what stands in
    a branch is never quantized. An If inside a branch is done before the one around it. Conditions that are
    computed in a branch are only known once it stands in the graph around it: after each round simplify
    computes them, until no condition is constant any more.
    """

    name = "inline-constant-if"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        while _inlined(rw) and any(is_op(node, "If") for node in all_nodes(rw.model)):
            Simplify().apply(rw, context)


def _inlined(rw: Rewriter) -> bool:
    """Whether any If was decided."""
    before = rw.edits
    for node in reversed(list(all_nodes(rw.model))):
        if is_op(node, "If") and node.graph is not None and (taken := scalar(node.inputs[0])) is not None:
            rw.replace(node, *_copied(_branch(node, bool(taken)), rw))
    return rw.edits > before


def _branch(node: ir.Node, taken: bool) -> ir.Graph:
    return node.attributes["then_branch" if taken else "else_branch"].as_graph()


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
            {name: _attribute(attribute, now) for name, attribute in node.attributes.items()},
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


def _attribute(attribute: ir.Attr, now: Mapping[ir.Value, ir.Value]) -> ir.Attr:
    """An attribute; a body that it holds is a copy that reads the copies of the values around it."""
    if attribute.is_ref() or attribute.type != ir.AttributeType.GRAPH:
        return attribute
    body = attribute.as_graph().clone(allow_outer_scope_values=True)
    for node in list(body.all_nodes()):
        for i, value in enumerate(node.inputs):
            if value is not None and value in now:
                node.replace_input_with(i, now[value])
    for i, value in enumerate(body.outputs):
        body.outputs[i] = now.get(value, value)
    return ir.AttrGraph(attribute.name, body)
