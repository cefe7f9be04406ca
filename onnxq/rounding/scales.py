"""Scales for few bits: a smaller step that cuts off the largest weights can leave a smaller error.

    s' = f·s,   f = argmin over 1, 0.97 … 0.4 of  Σ_k H_kk (s'·round(w_k/s') − w_k)²       for each output

The sum is what rounding adds to the output's error as far as the inputs are independent of each other.
"""

import numpy as np

from onnxq.graph.numeric import FloatArray
from onnxq.rounding.steps import Steps

__all__ = ["can_narrow", "narrowed"]

_FACTORS = np.arange(1.0, 0.39, -0.03)


def can_narrow(steps: Steps) -> bool:
    """Whether all inputs of an output share a scale, and scales need not be powers of two."""
    return bool(np.all(steps.scale == steps.scale[:, :, :1])) and not np.all(np.frexp(steps.scale)[0] == 0.5)


def narrowed(weights: FloatArray, h: FloatArray, steps: Steps) -> Steps:
    """The grid with the best of the scales, each a float32 number."""
    power = np.einsum("gkk->gk", h)[:, None, :]
    grids = [_scaled(steps, factor) for factor in _FACTORS]
    errors = []
    for grid in grids:
        moved = grid.nearest(weights) * grid.scale - weights
        errors.append((power * moved**2).sum(axis=2, keepdims=True))
    return _scaled(steps, _FACTORS[np.argmin(errors, axis=0)])


def _scaled(steps: Steps, factor: FloatArray | float) -> Steps:
    scale = np.maximum(steps.scale * factor, np.finfo(np.float32).tiny)
    return Steps(scale.astype(np.float32).astype(np.float64), steps.low, steps.high)
