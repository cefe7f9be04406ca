"""The scales of least noise: a convex problem, solved by gradient steps with a schedule fixed beforehand."""

from collections.abc import Sequence

import numpy as np

from onnxq.graph.numeric import FloatArray
from onnxq.quant.channel_scale.noise import Term, total

__all__ = ["SHARPEST", "least_noise"]

_STEPS = 160
_RATE = 0.15
SHARPEST = 24.0
_SOFTEST = 4.0
_REACH = float(np.log(2.0**12))
"""Scales stay within 2^±12, so that channels that were silent during calibration keep a meaning."""
_TIES = 1e-4
"""Weight of t² relative to the whole noise: holds what no term cares about at scale 1."""


def least_noise(terms: Sequence[Term], unknowns: int, start: FloatArray | None = None) -> FloatArray:
    """The logarithms t of the scales that make the sum of the terms small; float64 [unknowns].

    Adam (Kingma & Ba, arXiv 1412.6980) with a falling rate on the logarithm of the sum.
    """
    t = np.zeros(unknowns) if start is None else start.copy()
    mean, square = np.zeros(unknowns), np.zeros(unknowns)
    for step in range(1, _STEPS + 1):
        done = step / _STEPS
        p = _SOFTEST * (SHARPEST / _SOFTEST) ** done
        noise, gradient = total(terms, t, p)
        gradient = gradient / max(noise, 1e-300) + _TIES * t / max(unknowns, 1)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        update = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-12)
        t = np.clip(t - _RATE * (1 - done) * update, -_REACH, _REACH)
    return t
