"""BatchNormalization behind a ConvTranspose."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import producer
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import batch_norm_affine
from onnxq.passes.fusion._linear import fold_behind
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FoldBnIntoConvTranspose"]


@dataclass(frozen=True)
class FoldBnIntoConvTranspose(NodePass):
    """Fold an inference-mode BatchNormalization into the ConvTranspose before it.

           y = BatchNormalization(ConvTranspose(x, W, b), gamma, beta, mean, var)
        => y = ConvTranspose(x, W · s, (b − mean) · s + beta)     with s = gamma / sqrt(var + epsilon)

    W is [C_in, C_out / group, …]: s belongs to axis 1, and each group of input channels meets its own part of
    s. Applies when nothing else reads the ConvTranspose's output and all the constants are float32.
    """

    name = "fold-bn-into-conv-transpose"
    contract = Contract.EXACT
    root = "BatchNormalization"

    def rewrite(self, bn: ir.Node, rw: Rewriter, /) -> None:
        if (conv := producer(bn, 0, "ConvTranspose")) is None:
            return None
        if isinstance(affine := batch_norm_affine(bn), str):
            return rw.skip(bn, affine)
        fold_behind(conv, affine, bn, rw)
        return None
