"""MatMul of two activations: what the contracted axis has on one side, the other side takes back.

Q Kᵀ:  Σ_d (q_d / s_d)(k_d · s_d)             the scales cancel
P V:   Σ_t p_t (v_td / s_d) = (P V)_d / s_d   the scale passes through
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import rank
from onnxq.graph.numeric import IntArray
from onnxq.quant.channel_scale.moves import align
from onnxq.quant.channel_scale.rule import Rule, Tracer

__all__ = ["Product"]


class Product(Rule):
    """Scales along the contracted axis cancel; of the others one side's pass through, the other has none."""

    def trace(self, node: ir.Node, tracer: Tracer) -> None:
        a, b = node.inputs[0], node.inputs[1]
        axes = rank(node.outputs[0])
        if axes is None or axes < 2 or a is b or rank(a) != axes or rank(b) != axes:
            return tracer.fix(a, b)
        left, right = align(tracer.of(a), axes), align(tracer.of(b), axes)
        if left.shape[-1] > 1 or right.shape[-2] > 1:
            return self._contracted(a, b, left, right, tracer)
        if left.any() and right.any():
            tracer.fix(a)
        passed = right if right.any() else left
        if passed.any():
            tracer.give(node.outputs[0], passed)
        return None

    @staticmethod
    def _contracted(
        a: ir.Value | None, b: ir.Value | None, left: IntArray, right: IntArray, tracer: Tracer
    ) -> None:
        if not (left.any() and right.any()) or left.shape[-2] > 1 or right.shape[-1] > 1:
            return tracer.fix(a, b)
        return tracer.unknowns.equal(left, -np.swapaxes(right, -1, -2))
