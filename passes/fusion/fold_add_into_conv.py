"""Add and Sub of a constant behind a Conv, ConvTranspose or Gemm."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import Affine
from onnxq.passes.fusion._linear import channel_operand, fold_behind
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FoldAddIntoConv"]


@dataclass(frozen=True)
class FoldAddIntoConv(NodePass):
    """Fold the addition of a constant to each channel into the bias of the linear operator before it.

           y = Op(x, W, b) + c      or   Op(x, W, b) − d, with c = −d
        => y = Op(x, W, b + c)                                Op one of Conv, ConvTranspose, Gemm

    c is a number or varies along axis 1 only ([C, 1, 1], [1, C, 1, 1]). Applies when nothing else reads the
    output of Op and its weight and bias are float32 constants. For a MatMul see
    ``fuse-matmul-add``.
    """

    name = "fold-add-into-conv"
    contract = Contract.EXACT
    root = ("Add", "Sub")

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        if (found := channel_operand(node)) is None:
            return None
        if isinstance(found, str):
            return rw.skip(node, found)
        linear, term = found
        shift = -term if node.op_type == "Sub" else term
        fold_behind(linear, Affine(np.ones_like(shift), shift), node, rw)
        return None
