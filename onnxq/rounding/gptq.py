"""Rounding with error feedback (GPTQ): the inputs still to come make up for each one's error.

    q_k = round(w_k),   w_j −= (w_k − q_k) · U_kj / U_kk   for j > k,    UᵀU = H⁻¹, U upper triangular

Inputs are taken in falling order of their mean square, so that the ones that matter most are rounded while
most others can still make up for them. Source: Frantar et al., "GPTQ: accurate post-training quantization
for generative pre-trained transformers", arXiv 2210.17323, algorithm 1 with act-order.
"""

import numpy as np

from onnxq.graph.numeric import FloatArray
from onnxq.rounding.steps import Steps

__all__ = ["gptq"]

_BLOCK = 64


def gptq(weights: FloatArray, h: FloatArray, steps: Steps) -> FloatArray:
    """Whole steps for real weights [groups, outputs, inputs]; every output on its own.

    h: [groups, inputs, inputs], positive definite.
    """
    order = np.argsort(-np.einsum("gkk->gk", h), axis=1, kind="stable")
    columns = order[:, None, :]
    h = np.take_along_axis(np.take_along_axis(h, order[:, :, None], 1), columns, 2)
    scale, low, high = (
        np.take_along_axis(np.broadcast_to(a, weights.shape), columns, 2)
        for a in (steps.scale, steps.low, steps.high)
    )
    upper = np.linalg.cholesky(np.linalg.inv(h)).swapaxes(1, 2)
    done = _feed_back(np.take_along_axis(weights, columns, 2), upper, Steps(scale, low, high))
    return np.take_along_axis(done, np.argsort(columns, axis=2), 2)


def _feed_back(weights: FloatArray, upper: FloatArray, steps: Steps) -> FloatArray:
    """In blocks of inputs: within one, errors are passed on at once; beyond it, together at its end."""
    w, rounded = weights.copy(), np.empty_like(weights)
    inputs = w.shape[2]
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        errors = np.empty((*w.shape[:2], stop - start))
        for k in range(start, stop):
            step = np.rint(w[:, :, k] / steps.scale[:, :, k])
            rounded[:, :, k] = np.clip(step, steps.low[:, :, k], steps.high[:, :, k])
            error = (w[:, :, k] - rounded[:, :, k] * steps.scale[:, :, k]) / upper[:, k, k][:, None]
            w[:, :, k:stop] -= error[:, :, None] * upper[:, None, k, k:stop]
            errors[:, :, k - start] = error
        w[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    return rounded
