"""A Cast to the type that is already there goes."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["EliminateNoopCast"]


@dataclass(frozen=True)
class EliminateNoopCast(NodePass):
    """Let the readers of a Cast to x's own type read x.

           y = Cast<to = T>(x)      x of type T
        => y = x

    Left alone where the type of x is not known (run ``infer-shapes`` first).
    """

    name = "eliminate-noop-cast"
    contract = Contract.EXACT
    root = "Cast"

    def rewrite(self, cast: ir.Node, rw: Rewriter, /) -> None:
        x = cast.inputs[0]
        if x is not None and x.dtype is not None and x.dtype == cast.attributes.get_int("to"):
            rw.bypass(cast, x)
