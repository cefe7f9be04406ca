"""Mul and Div by a constant behind a Conv, ConvTranspose or Gemm."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import Affine
from onnxq.passes.fusion._linear import channel_operand, fold_behind
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FoldMulIntoConv"]


@dataclass(frozen=True)
class FoldMulIntoConv(NodePass):
    """Fold a multiplication of each channel by a constant into the linear operator before it.

           y = Op(x, W, b) · c      or   Op(x, W, b) / d, with c = 1 / d
        => y = Op(x, W · c, b · c)                            Op one of Conv, ConvTranspose, Gemm

    c is a number or varies along axis 1 only ([C, 1, 1], [1, C, 1, 1]). Applies when nothing else reads the
    output of Op and its weight and bias are float32 constants. Some exporters write BatchNormalization so.
    """

    name = "fold-mul-into-conv"
    contract = Contract.EXACT
    root = ("Mul", "Div")

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        if (found := channel_operand(node)) is None:
            return None
        if isinstance(found, str):
            return rw.skip(node, found)
        linear, factor = found
        with np.errstate(divide="ignore"):
            scale = 1 / factor if node.op_type == "Div" else factor
        fold_behind(linear, Affine(scale, np.zeros_like(scale)), node, rw)
        return None
