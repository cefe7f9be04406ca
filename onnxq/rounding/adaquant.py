"""AdaQuant: real weights are learned so that they round well, with the rounding's gradient taken as one.

    ŵ = s · round(v/s),    v ← Adam(v, ∂E/∂ŵ),    the best ŵ on the way is kept

with E(ŵ) = (ŵ − w) H (ŵ − w)ᵀ, for each output. Unlike AdaRound, a weight may move by several steps. Source:
Hubara et al., "Improving post training neural quantization: layer-wise calibration and integer programming",
arXiv 2006.10518, section 3.1.
"""

import numpy as np

from onnxq.graph.numeric import FloatArray
from onnxq.rounding.adam import Adam
from onnxq.rounding.steps import Steps

__all__ = ["adaquant"]

_RATE = 0.05


def adaquant(weights: FloatArray, h: FloatArray, steps: Steps, iterations: int = 200) -> FloatArray:
    """Whole steps for real weights [groups, outputs, inputs]; h: [groups, inputs, inputs]. In float32."""
    v, low, high = (a.astype(np.float32) for a in (weights / steps.scale, steps.low, steps.high))
    scale, gram, target = steps.scale.astype(np.float32), h.astype(np.float32), v.copy()
    best = np.clip(np.rint(v), low, high)
    least = np.full(v.shape[:2], np.inf, np.float32)
    adam = Adam(_RATE)
    for i in range(iterations):
        rounded = np.clip(np.rint(v), low, high)
        moved = (rounded - target) * scale
        slope = moved @ gram
        error = np.einsum("gnk,gnk->gn", slope, moved)
        best = np.where((error < least)[:, :, None], rounded, best)
        least = np.minimum(error, least)
        v = adam.step(v, slope * scale, 1 - i / iterations)
    return best.astype(np.float64)
