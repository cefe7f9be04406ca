"""Constant nodes become initializers."""

from dataclasses import dataclass
from itertools import takewhile

import onnx_ir as ir

from onnxq.graph.match import constant, is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import scopes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["LiftConstants"]


@dataclass(frozen=True)
class LiftConstants(Pass):
    """Turn Constant nodes into initializers of the graph they stand in, under the same name.

           y = Op(x, Constant<value>())
        => y = Op(x, c)                 with the initializer c = value

    Numbers and lists of numbers (``value_int``, ``value_floats`` …) are lifted like tensors. Sparse and text
    constants stay, and so does a constant that is itself an output of its graph. Functions have no
    initializers: they keep their Constant nodes.
    """

    name = "lift-constants"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        for scope in takewhile(lambda scope: not scope.is_function, list(scopes(rw.model))):
            for node in list(scope.graph):
                if is_op(node, "Constant"):
                    _lift(node, rw)


def _lift(node: ir.Node, rw: Rewriter) -> None:
    output = node.outputs[0]
    if output.is_graph_output():
        return rw.skip(node, "it is an output of its graph")
    if "sparse_value" in node.attributes or (array := constant(output)) is None:
        return rw.skip(node, "it is not a dense tensor of numbers")
    name, value = output.name, rw.const(array, output.name or "constant")
    rw.replace(node, value)
    # the old value is gone only now, and with it the claim on the name that recipes and reports know
    value.name = name or value.name
    return None
