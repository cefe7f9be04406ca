"""AdaRound: whether each weight goes up or down is learned, as a soft variable that ends at 0 or 1.

    ŵ = s · (⌊w/s⌋ + h(v)),    h(v) = clip(1.2 · σ(v) − 0.1, 0, 1)
    loss = E(ŵ) + λ Σ (1 − |2h(v) − 1|^β),    β falling from 20 to 2

with E(ŵ) = (ŵ − w) H (ŵ − w)ᵀ, by Adam on exact gradients. E is measured in units of the error of nearest
rounding, so that λ means the same for every layer. Source: Nagel et al., "Up or down? Adaptive rounding for
post-training quantization", arXiv 2004.10568, section 3.3.
"""

import numpy as np

from onnxq.graph.numeric import FloatArray
from onnxq.rounding.adam import Adam
from onnxq.rounding.steps import Steps

__all__ = ["adaround"]

_STRETCH, _SHIFT = 1.2, 0.1
_WARM_UP = 0.2
_BETA = (20.0, 2.0)
_RATE = 0.03
_LAMBDA = 10.0


def adaround(weights: FloatArray, h: FloatArray, steps: Steps, iterations: int = 500) -> FloatArray:
    """Whole steps for real weights [groups, outputs, inputs]: each the one below or above its weight.

    h: [groups, inputs, inputs]. Computed in float32.
    """
    scaled = weights / steps.scale
    floor = np.floor(scaled)
    fraction = (scaled - floor).astype(np.float32)
    low, high = ((bound - floor).astype(np.float32) for bound in (steps.low, steps.high))
    scale, gram = steps.scale.astype(np.float32), h.astype(np.float32)
    gain = (2 * scale / _unit(weights, h, steps)).astype(np.float32)
    v, adam = _inverse(fraction), Adam(_RATE)
    for i in range(iterations):
        up, slope_up = _rectified(v)
        moved = (np.clip(up, low, high) - fraction) * scale
        slope = gain * (moved @ gram)
        if (progress := i / iterations) >= _WARM_UP:
            slope += _LAMBDA * _push(up, _beta((progress - _WARM_UP) / (1 - _WARM_UP)))
        v = adam.step(v, slope * slope_up)
    return steps.clip(floor + (_rectified(v)[0] >= 0.5))


def _unit(weights: FloatArray, h: FloatArray, steps: Steps) -> FloatArray:
    """The error of nearest rounding for each input of an output, [groups, outputs, 1]."""
    moved = steps.nearest(weights) * steps.scale - weights
    added = np.einsum("gnk,gnk->gn", moved @ h, moved) / weights.shape[2]
    unit: FloatArray = np.maximum(added, np.finfo(np.float32).tiny)[:, :, None]
    return unit


def _rectified(v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """h(v) and its derivative."""
    sigmoid = 1 / (1 + np.exp(-v))
    h = _STRETCH * sigmoid - _SHIFT
    inside = (h > 0) & (h < 1)
    return np.clip(h, 0.0, 1.0), inside * _STRETCH * sigmoid * (1 - sigmoid)


def _inverse(h: FloatArray) -> FloatArray:
    """v of h(v)."""
    sigmoid = (h + _SHIFT) / _STRETCH
    return np.log(sigmoid / (1 - sigmoid))


def _beta(progress: float) -> float:
    high, low = _BETA
    return low + (high - low) * 0.5 * (1 + float(np.cos(np.pi * progress)))


def _push(h: FloatArray, beta: float) -> FloatArray:
    """d/dh (1 − |2h − 1|^β): towards 0 below one half, towards 1 above it."""
    centre = 2 * h - 1
    push: FloatArray = -2 * beta * np.sign(centre) * np.abs(centre) ** (beta - 1)
    return push
