"""Dropout is the identity at inference."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import get_input, scalar
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["EliminateDropout"]


@dataclass(frozen=True)
class EliminateDropout(NodePass):
    """Let the readers of an inference-mode Dropout read its input.

           y = Op(Dropout(x, ratio))
        => y = Op(x)

    Both the forms with attributes (opset 7 to 11) and those with inputs (12 and later). Left alone where
    training_mode is not known to be false, and where something reads the mask.
    """

    name = "eliminate-dropout"
    contract = Contract.EXACT
    root = "Dropout"

    def rewrite(self, dropout: ir.Node, rw: Rewriter, /) -> None:
        x, training = dropout.inputs[0], get_input(dropout, 2)
        if x is None:
            return None
        if training is not None and scalar(training) != 0:
            return rw.skip(dropout, "training_mode is not a constant false")
        if any(mask.uses() or mask.is_graph_output() for mask in dropout.outputs[1:]):
            return rw.skip(dropout, "its mask is read")
        rw.bypass(dropout, x)
        return None
