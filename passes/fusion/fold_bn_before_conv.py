"""BatchNormalization in front of a Conv."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import constant, producer
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import batch_norm_affine
from onnxq.passes.fusion._linear import fold_before
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FoldBnBeforeConv"]


@dataclass(frozen=True)
class FoldBnBeforeConv(NodePass):
    """Fold an inference-mode BatchNormalization into the Conv behind it.

           y = Conv(BatchNormalization(x, gamma, beta, mean, var), W, b)
        => y = Conv(x, W · s, b + Σ W · t)       with s = gamma / sqrt(var + epsilon), t = beta − mean · s,
                                                 per input channel; the sum runs over those and the kernel

    Applies when the Conv alone reads the BatchNormalization. A padding zero does not pass through the
    BatchNormalization, so the Conv must not pad, unless t = 0. Run ``fold-bn-into-conv`` first: what stands
    behind another Conv folds there whatever the padding.
    """

    name = "fold-bn-before-conv"
    contract = Contract.EXACT
    root = "Conv"

    def rewrite(self, conv: ir.Node, rw: Rewriter, /) -> None:
        if (bn := producer(conv, 0, "BatchNormalization")) is None:
            return None
        if isinstance(affine := batch_norm_affine(bn), str):
            return rw.skip(conv, affine)
        if affine.shift.any() and _pads(conv):
            return rw.skip(conv, "it pads with zeros, which the shift of the BatchNormalization would reach")
        fold_before(conv, affine, bn, rw)
        return None


def _pads(conv: ir.Node) -> bool:
    auto = conv.attributes.get_string("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return any(conv.attributes.get_ints("pads", ()))
    weight = constant(conv.inputs[1])
    point = weight is not None and set(weight.shape[2:]) == {1}
    return auto != "VALID" and not point
