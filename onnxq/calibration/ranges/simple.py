"""Methods that are one formula: the extremes, their moving average, quantiles, mean ± k·std."""

from dataclasses import dataclass

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.ranges.base import HistogramMethod, Method, Range, clip_to, hull, moments_of
from onnxq.calibration.statistics import MinMax, Statistic
from onnxq.errors import UsageError
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.quant.formats import IntFormat

__all__ = ["Distribution", "Ema", "Eq", "MinMaxMethod", "Percentile"]


@dataclass(frozen=True)
class MinMaxMethod(Method):
    """[min x, max x] over all samples: nothing is clipped."""

    name = "minmax"

    def wants(self) -> Statistic:
        return MinMax()

    def range(self, statistic: Statistic, fmt: IntFormat, *, symmetric: bool = False) -> Range:
        if not isinstance(statistic, (MinMax, Histogram)):
            raise UsageError(f"method 'minmax' cannot read a statistic of kind '{statistic.kind}'")
        return hull(statistic.min, statistic.max, symmetric) if statistic.count else (0.0, 0.0)


@dataclass(frozen=True)
class Eq(MinMaxMethod):
    """The full range, which :mod:`onnxq.quant.output_search` then shrinks by running the model on samples.

    It is for pipelines only, ``insert-qdq{method=eq}``: a statistics file does not tell what an operator
    makes of a value.
    """

    name = "eq"


@dataclass(frozen=True)
class Ema(HistogramMethod):
    """Exponential moving average of the samples' extremes, in the order of the data set.

        low_0 = min x_0,   low_t = c · low_{t−1} + (1 − c) · min x_t,   and high alike

    ``momentum`` is c. Source: Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", CVPR 2018, section 3.1.
    """

    name = "ema"
    momentum: float = 0.9

    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        _, low, high = histogram.samples
        return self._average(low), self._average(high)

    def _average(self, series: FloatArray) -> float:
        average = float(series[0])
        for item in series[1:].tolist():
            average = self.momentum * average + (1 - self.momentum) * item
        return average


@dataclass(frozen=True)
class Percentile(HistogramMethod):
    """The middle ``percent`` of all elements, zeros included, half of the rest cut off at either end.

    symmetric: the smallest t with a share percent / 100 of |x| <= t. Quantiles are interpolated inside a bin.
    Source: McKinstry et al., "Discovering low-precision networks close to full-precision networks", 2018.
    """

    name = "percentile"
    percent: float = 99.99

    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        tail = (1 - self.percent / 100) * histogram.count
        if symmetric:
            t = _upper(histogram.magnitudes(), histogram.width, tail)
            return clip_to(histogram, -t, t)
        low = -_upper(histogram.side(-1), histogram.width, tail / 2)
        return clip_to(histogram, low, _upper(histogram.side(1), histogram.width, tail / 2))


@dataclass(frozen=True)
class Distribution(HistogramMethod):
    """[mean − k · std, mean + k · std], as far as there is data; ``k`` is 4 by default."""

    name = "distribution"
    k: float = 4.0

    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        mean, _, deviation = moments_of(histogram)
        return clip_to(histogram, mean - self.k * deviation, mean + self.k * deviation)


def _upper(counts: IntArray, width: float, tail: float) -> float:
    """The point on an axis from zero, in bins of ``width``, beyond which ``tail`` elements lie."""
    above = np.append(counts[::-1].cumsum()[::-1], 0).astype(np.float64)  # elements beyond each edge
    if above[0] <= tail:
        return 0.0
    return float(np.interp(-tail, -above, np.arange(above.size) * width))
