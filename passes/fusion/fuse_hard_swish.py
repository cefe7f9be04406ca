"""Fuse a value times its own hard sigmoid."""

from dataclasses import dataclass
from math import isclose

import onnx_ir as ir

from onnxq.graph.polynomial import Polynomial
from onnxq.passes.fusion._operator_fusion import Fusion, OperatorFusion, fuse_result
from onnxq.passes.fusion._ramp import ramps
from onnxq.pipeline.base import Contract

__all__ = ["FuseHardSwish"]


@dataclass(frozen=True)
class FuseHardSwish(OperatorFusion):
    """Replace a value times its own hard sigmoid by the operator HardSwish (opset 14).

           y = x · HardSigmoid(x) {alpha=1/6, beta=0.5}   => y = HardSwish(x)
           y = x · Clip(x + 3, 0, 6) / 6                  => y = HardSwish(x)
           y = x · Clip(x / 6 + 0.5, 0, 1)                => y = HardSwish(x)

    with the factors in any order, Mul or Div, and the clamp as Clip, Min(Relu(…), 6) or Min(Max(…, 0), 6).
    The model's opset is raised to 14 if that changes no other node. Left alone where the clamp is read
    elsewhere too.

    Source: Howard and others: Searching for MobileNetV3, https://arxiv.org/abs/1905.02244.
    """

    name = "fuse-hard-swish"
    contract = Contract.EXACT
    root = ("Clip", "Min", "HardSigmoid")
    since = 14

    def match(self, node: ir.Node, /) -> Fusion | str | None:
        for ramp in ramps(node):
            factor = 1 / ramp.high if ramp.high else 0.0
            line = ramp.unit(factor)
            if line is None or not (
                isclose(line[0], 1 / 6, rel_tol=3e-4) and isclose(line[1], 0.5, rel_tol=3e-4)
            ):
                continue
            formula = Polynomial.of(ramp.x) * node.outputs[0] * factor
            return fuse_result("HardSwish", ramp.x, {}, formula, ramp.nodes)
        return None
