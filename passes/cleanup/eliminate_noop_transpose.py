"""A Transpose that moves nothing goes."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["EliminateNoopTranspose"]


@dataclass(frozen=True)
class EliminateNoopTranspose(NodePass):
    """Let the readers of a Transpose by the identity permutation read its input.

       y = Transpose<perm = [0, 1, …, n−1]>(x)
    => y = x
    """

    name = "eliminate-noop-transpose"
    contract = Contract.EXACT
    root = "Transpose"

    def rewrite(self, transpose: ir.Node, rw: Rewriter, /) -> None:
        x, perm = transpose.inputs[0], transpose.attributes.get_ints("perm")
        if x is not None and perm is not None and list(perm) == list(range(len(perm))):
            rw.bypass(transpose, x)
