"""Identity nodes go."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["EliminateIdentity"]


@dataclass(frozen=True)
class EliminateIdentity(NodePass):
    """Let the readers of an Identity read its input.

           y = Op(Identity(x))
        => y = Op(x)

    Stays where it carries a public name that its input cannot take: the input of a graph, an initializer, a
    value of an outer scope or another output straight to an output.
    """

    name = "eliminate-identity"
    contract = Contract.EXACT
    root = "Identity"

    def rewrite(self, identity: ir.Node, rw: Rewriter, /) -> None:
        if (x := identity.inputs[0]) is not None:
            rw.bypass(identity, x)
