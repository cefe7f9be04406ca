"""BatchNormalization behind a Conv."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import producer
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import batch_norm_affine
from onnxq.passes.fusion._linear import fold_behind
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FoldBnIntoConv"]


@dataclass(frozen=True)
class FoldBnIntoConv(NodePass):
    """Fold an inference-mode BatchNormalization into the Conv before it.

           y = BatchNormalization(Conv(x, W, b), gamma, beta, mean, var)
        => y = Conv(x, W · s, (b − mean) · s + beta)     with s = gamma / sqrt(var + epsilon)

    s belongs to the output channels. Applies when nothing else reads the Conv's output and W, b and the
    statistics are float32 constants.
    """

    name = "fold-bn-into-conv"
    contract = Contract.EXACT
    root = "BatchNormalization"

    def rewrite(self, bn: ir.Node, rw: Rewriter, /) -> None:
        if (conv := producer(bn, 0, "Conv")) is None:
            return None
        if isinstance(affine := batch_norm_affine(bn), str):
            return rw.skip(bn, affine)
        fold_behind(conv, affine, bn, rw)
        return None
