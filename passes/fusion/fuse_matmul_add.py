"""MatMul and Add as one Gemm."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, producer, rank, sole_consumer
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import per_channel
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FuseMatmulAdd"]


@dataclass(frozen=True)
class FuseMatmulAdd(NodePass):
    """Write a matrix product and its bias as one Gemm.

           y = Add(MatMul(x, W), b)        x [M, K], W [K, N], b a number, [N] or [1, N]
        => y = Gemm(x, W, b)

    Applies when W and b are float32 constants and nothing else reads the product. Gemm takes matrices only: a
    MatMul of more axes stays as it is.
    """

    name = "fuse-matmul-add"
    contract = Contract.EXACT
    root = "Add"

    def rewrite(self, add: ir.Node, rw: Rewriter, /) -> None:
        for side, other in ((0, 1), (1, 0)):
            matmul, b = producer(add, side, "MatMul"), get_input(add, other)
            if matmul is not None and constant(b) is not None:
                return _fuse(matmul, b, add, rw)
        return None


def _fuse(matmul: ir.Node, b: ir.Value | None, add: ir.Node, rw: Rewriter) -> None:
    x, w, weight, bias = matmul.inputs[0], matmul.inputs[1], constant(matmul.inputs[1]), constant(b)
    if weight is None or bias is None:
        return None
    if weight.ndim != 2 or weight.dtype != np.float32:
        return rw.skip(add, "the MatMul's right side is not a float32 matrix")
    if (axes := rank(x)) != 2:
        return rw.skip(add, f"the MatMul's left side has {axes or 'an unknown number of'} axes; Gemm takes 2")
    if per_channel(bias, 2, weight.shape[1]) is None:
        return rw.skip(add, f"its constant {bias.shape} is no row of {weight.shape[1]} numbers")
    if sole_consumer(matmul.outputs[0]) is not add:
        return rw.skip(add, "something else reads the MatMul before it")
    rw.replace([matmul, add], rw.op("Gemm", [x, w, b]))
    return None
