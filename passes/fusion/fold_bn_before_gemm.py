"""BatchNormalization in front of a Gemm or MatMul."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import producer
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import batch_norm_affine
from onnxq.passes.fusion._linear import fold_before
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FoldBnBeforeGemm"]


@dataclass(frozen=True)
class FoldBnBeforeGemm(NodePass):
    """Fold an inference-mode BatchNormalization into the Gemm or MatMul behind it.

           y = Gemm(BatchNormalization(x, gamma, b, mean, var), B, C) {alpha, beta}
        => y = Gemm(x, s · B, beta · C + alpha · t B) {alpha}
                                    with s = gamma / sqrt(var + epsilon), t = b − mean · s, per row of B

    A MatMul of a matrix and a constant matrix becomes a Gemm with a bias. Applies when the Gemm alone reads
    the BatchNormalization and does not transpose it.
    """

    name = "fold-bn-before-gemm"
    contract = Contract.EXACT
    root = ("Gemm", "MatMul")

    def rewrite(self, gemm: ir.Node, rw: Rewriter, /) -> None:
        if (bn := producer(gemm, 0, "BatchNormalization")) is None:
            return None
        if gemm.attributes.get_int("transA", 0):
            return rw.skip(gemm, "it transposes the output of the BatchNormalization before it")
        if isinstance(affine := batch_norm_affine(bn), str):
            return rw.skip(gemm, affine)
        fold_before(gemm, affine, bn, rw)
        return None
