"""Coordinate descent on rounded weights: one input after the other takes its best step, the rest as they are.

    q_k ← round(q_k − ∂E/∂q_k / ∂²E/∂q_k²)      for k = 1 … inputs, until nothing changes

with E = (sq − w) H (sq − w)ᵀ. It is a parabola in each step, so this is the exact minimum along it, and E
never rises; in the end no single weight can be moved to advantage. Source: Behdin et al., "QuantEase:
optimization-based quantization for language models", arXiv 2309.01885, algorithm 1.
"""

import numpy as np

from onnxq.graph.numeric import FloatArray
from onnxq.rounding.steps import Steps

__all__ = ["descend"]

SWEEPS = 5
_BLOCK = 64


def descend(
    rounded: FloatArray, weights: FloatArray, h: FloatArray, steps: Steps, sweeps: int = SWEEPS
) -> FloatArray:
    """Whole steps [groups, outputs, inputs] of no larger E than ``rounded``; every output on its own.

    h: [groups, inputs, inputs], positive definite. It ends after ``sweeps``, or when nothing changes.
    """
    q = rounded.copy()
    scale, low, high = (np.broadcast_to(a, q.shape) for a in (steps.scale, steps.low, steps.high))
    slope = (q * scale - weights) @ h
    for _ in range(sweeps):
        before = q.copy()
        for start in range(0, q.shape[2], _BLOCK):
            block = slice(start, min(start + _BLOCK, q.shape[2]))
            was = q[:, :, block].copy()
            _descend_block(q, slope, h, block, Steps(scale, low, high))
            moved = (q[:, :, block] - was) * scale[:, :, block]
            slope += moved @ h[:, block, :]
        if np.array_equal(before, q):
            break
    return q


def _descend_block(q: FloatArray, slope: FloatArray, h: FloatArray, block: slice, steps: Steps) -> None:
    """One sweep over a block of inputs; changes ``q``, reads ``slope`` as it was before the block."""
    local, inner = slope[:, :, block].copy(), h[:, block, block]
    curve = np.einsum("gkk->gk", inner)
    for i in range(inner.shape[1]):
        k, live = block.start + i, curve[:, i] > 0
        width = steps.scale[:, :, k]
        step = local[:, :, i] / (np.where(live, curve[:, i], 1.0)[:, None] * width)
        best = np.clip(np.rint(q[:, :, k] - step), steps.low[:, :, k], steps.high[:, :, k])
        best = np.where(live[:, None], best, q[:, :, k])
        local += ((best - q[:, :, k]) * width)[:, :, None] * inner[:, None, i, :]
        q[:, :, k] = best
