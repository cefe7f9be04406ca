"""Clipping values in closed form, for data that is roughly Laplace or Gauss distributed."""

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, exp, log, pi, sqrt

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.ranges.base import HistogramMethod, Range, clip_to, moments_of
from onnxq.quant.formats import IntFormat

__all__ = ["Aciq", "gauss_clip", "laplace_clip"]


@dataclass(frozen=True)
class Aciq(HistogramMethod):
    """[μ − α, μ + α] with the α that minimizes clipping plus rounding noise under a fitted distribution.

        Laplace(μ, b):  E(α) = 2 b² e^(−α/b) + α² / (3 · 4^M)              b = E|x − μ|
        Gauss(μ, σ):    E(α) = (α² + σ²) (1 − erf(α / √2σ)) − √(2/π) α σ e^(−α²/2σ²) + α² / (3 · 4^M)

    M is the number of bits. The distribution is the one whose ratio E|x − μ| / σ (√½ for Laplace, √(2/π)
    for Gauss) is closer to the data's. Data of one sign counts as half of a symmetric distribution around
    zero, which has one bit more unless the format is symmetric.
    Source: Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment",
    NeurIPS 2019, section 2.
    """

    name = "aciq"

    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        mean, deviation, sigma = moments_of(histogram)
        bits = log(fmt.levels, 2)
        if histogram.min >= 0 or histogram.max <= 0:
            mean, deviation, sigma = _mirrored(histogram)
            bits += not symmetric
        gaussian = deviation / max(sigma, 1e-300) > (sqrt(0.5) + sqrt(2 / pi)) / 2
        alpha = sigma * gauss_clip(bits) if gaussian else deviation * laplace_clip(bits)
        return clip_to(histogram, mean - alpha, mean + alpha)


def laplace_clip(bits: float) -> float:
    """α / b: the zero of α/b · e^(α/b) = 3 · 4^M, the Lambert function."""
    return _root(lambda a: a / (3 * 4**bits) - exp(-a))


def gauss_clip(bits: float) -> float:
    """α / σ: the zero of the derivative of E by α."""
    return _root(lambda a: a * (1 - erf(a / sqrt(2))) - sqrt(2 / pi) * exp(-a * a / 2) + a / (3 * 4**bits))


def _mirrored(histogram: Histogram) -> tuple[float, float, float]:
    x, w = histogram.points()
    w = w * (x != 0)
    return 0.0, float((abs(x) * w).sum() / w.sum()), sqrt(float((x * x * w).sum() / w.sum()))


def _root(rising: Callable[[float], float]) -> float:
    """The zero of an increasing function between 0 and 64, by bisection to the last bit."""
    low, high = 0.0, 64.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high
