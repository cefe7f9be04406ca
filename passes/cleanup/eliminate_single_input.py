"""Operators over a list of one input go."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["EliminateSingleInput"]


@dataclass(frozen=True)
class EliminateSingleInput(NodePass):
    """Let the readers of a Concat, Sum, Mean, Max or Min of one input read that input.

       y = Concat(x),  Sum(x),  Mean(x),  Max(x),  Min(x)
    => y = x
    """

    name = "eliminate-single-input"
    contract = Contract.EXACT
    root = ("Concat", "Sum", "Mean", "Max", "Min")

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        if len(node.inputs) == 1 and (x := node.inputs[0]) is not None:
            rw.bypass(node, x)
