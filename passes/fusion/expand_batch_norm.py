"""BatchNormalization that nothing absorbs."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import rank
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import batch_norm_affine
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["ExpandBatchNorm"]


@dataclass(frozen=True)
class ExpandBatchNorm(NodePass):
    """Write an inference-mode BatchNormalization as Mul and Add, which quantize like any others.

           y = BatchNormalization(x, gamma, beta, mean, var)
        => y = x · s + (beta − mean · s)       with s = gamma / sqrt(var + epsilon), both of shape [C, 1, …]

    For what ``fold-bn-into-conv`` and its kin leave over; run it after them. Applies when the statistics are
    float32 constants and the number of axes of x is known.
    """

    name = "expand-batch-norm"
    contract = Contract.EXACT
    root = "BatchNormalization"

    def rewrite(self, bn: ir.Node, rw: Rewriter, /) -> None:
        if isinstance(affine := batch_norm_affine(bn), str):
            return rw.skip(bn, affine)
        if (axes := rank(bn.inputs[0])) is None or axes < 2:
            return rw.skip(bn, "the number of axes of its input is not known")
        shape = (-1, *[1] * (axes - 2))
        scale, shift = (a.astype(np.float32).reshape(shape) for a in (affine.scale, affine.shift))
        name, y = bn.outputs[0].name or "batch_norm", bn.outputs[0]
        scaled = rw.op("Mul", [bn.inputs[0], rw.const(scale, f"{name}_scale")], like=y)
        rw.replace(bn, rw.op("Add", [scaled, rw.const(shift, f"{name}_shift")]))
        return None
