"""A Pad by nothing goes."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import constant, get_input
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["EliminateNoopPad"]


@dataclass(frozen=True)
class EliminateNoopPad(NodePass):
    """Let the readers of a Pad whose amounts are all zero read its input.

       y = Pad(x, pads = [0, …, 0])
    => y = x                           in every mode
    """

    name = "eliminate-noop-pad"
    contract = Contract.EXACT
    root = "Pad"

    def rewrite(self, pad: ir.Node, rw: Rewriter, /) -> None:
        x, pads = pad.inputs[0], constant(get_input(pad, 1))
        if x is not None and pads is not None and not pads.any():
            rw.bypass(pad, x)
