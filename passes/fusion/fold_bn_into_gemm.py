"""BatchNormalization behind a Gemm or MatMul."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import producer
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import batch_norm_affine
from onnxq.passes.fusion._linear import fold_behind
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FoldBnIntoGemm"]


@dataclass(frozen=True)
class FoldBnIntoGemm(NodePass):
    """Fold an inference-mode BatchNormalization into the Gemm or MatMul before it.

           y = BatchNormalization(Gemm(A, B, C) {alpha, beta, transA, transB}, gamma, b, mean, var)
        => y = Gemm(A, B · s, (beta · C − mean) · s + b) {alpha, transA, transB}
                                                         with s = gamma / sqrt(var + epsilon), per column of B

    A MatMul of a matrix and a constant matrix becomes a Gemm with a bias. MatMul and Add: run
    ``fuse-matmul-add`` first. A MatMul of more axes stays: its channels, axis 1, are not the columns of B.
    C may be a number or a row; a C that differs from row to row stays.
    """

    name = "fold-bn-into-gemm"
    contract = Contract.EXACT
    root = "BatchNormalization"

    def rewrite(self, bn: ir.Node, rw: Rewriter, /) -> None:
        if (gemm := producer(bn, 0, "Gemm", "MatMul")) is None:
            return None
        if isinstance(affine := batch_norm_affine(bn), str):
            return rw.skip(bn, affine)
        fold_behind(gemm, affine, bn, rw)
        return None
