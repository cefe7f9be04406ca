"""Fuse a value times its own sigmoid."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import get_input
from onnxq.graph.polynomial import Polynomial, ancestors, read
from onnxq.passes.fusion._operator_fusion import Fusion, OperatorFusion, fuse_result
from onnxq.pipeline.base import Contract

__all__ = ["FuseSilu"]


@dataclass(frozen=True)
class FuseSilu(OperatorFusion):
    """Replace a value times its own sigmoid by the operator Swish (opset 24).

           y = x · Sigmoid(x)           => y = Swish(x)                    SiLU
           y = x · Sigmoid(alpha · x)   => y = Swish(x) {alpha=alpha}      1.702: the quick form of Gelu

    with the factors in any order and alpha as Mul or Div. The model's opset is raised to 24 if that changes
    no other node. Left alone where the Sigmoid is read elsewhere too.

    Source: Elfwing, Uchibe, Doya: Sigmoid-Weighted Linear Units, https://arxiv.org/abs/1702.03118.
    """

    name = "fuse-silu"
    contract = Contract.EXACT
    root = ("Sigmoid",)
    since = 24

    def match(self, node: ir.Node, /) -> Fusion | str | None:
        argument, k = get_input(node, 0), node.outputs[0]
        for x in ancestors(argument):
            inner = read(argument, x)
            alpha = inner.polynomial.coefficient(x) if inner is not None else 0.0
            if inner is None or not alpha or not inner.polynomial.is_close(Polynomial.of(x) * alpha):
                continue
            formula = Polynomial.of(x) * k
            found = fuse_result(
                "Swish", x, {} if alpha == 1 else {"alpha": alpha}, formula, [*inner.nodes, node]
            )
            if found is not None:
                return found
        return None
