"""Fuse the piecewise linear sigmoid."""

from dataclasses import dataclass
from math import isclose

import onnx_ir as ir

from onnxq.graph.polynomial import Polynomial
from onnxq.passes.fusion._operator_fusion import Fusion, OperatorFusion, fuse_result
from onnxq.passes.fusion._ramp import ramps
from onnxq.pipeline.base import Contract

__all__ = ["FuseHardSigmoid"]

_SLOPES = (1 / 6, 0.2)
"""Of PyTorch (also MobileNetV3) and of Keras; any other clamp is left a clamp."""


@dataclass(frozen=True)
class FuseHardSigmoid(OperatorFusion):
    """Replace a clamped straight line from 0 to 1 by the operator HardSigmoid.

           y = Clip(x + 3, 0, 6) / 6          => y = HardSigmoid(x) {alpha=1/6, beta=0.5}
           y = Clip(x / 6 + 0.5, 0, 1)        => y = HardSigmoid(x) {alpha=1/6, beta=0.5}
           y = Clip(0.2 · x + 0.5, 0, 1)      => y = HardSigmoid(x) {alpha=0.2, beta=0.5}

    with the clamp as Clip, Min(Relu(…), 6) or Min(Max(…, 0), 6), and with Mul or Div. Left alone where the
    clamp is read elsewhere too.

    Source: Howard and others: Searching for MobileNetV3, https://arxiv.org/abs/1905.02244.
    """

    name = "fuse-hard-sigmoid"
    contract = Contract.EXACT
    root = ("Clip", "Min")
    since = 6

    def match(self, node: ir.Node, /) -> Fusion | str | None:
        for ramp in ramps(node):
            factor = 1 / ramp.high if ramp.high else 0.0
            line = ramp.unit(factor)
            if line is None or not isclose(line[1], 0.5, rel_tol=3e-4):
                continue
            slope = next((slope for slope in _SLOPES if isclose(line[0], slope, rel_tol=3e-4)), None)
            if slope is None:
                continue
            formula = Polynomial.of(node.outputs[0]) * factor
            return fuse_result("HardSigmoid", ramp.x, {"alpha": slope, "beta": 0.5}, formula, ramp.nodes)
        return None
