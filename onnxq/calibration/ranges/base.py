"""What every calibration method is, and the helpers they share."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.statistics import Statistic
from onnxq.errors import UsageError
from onnxq.graph.numeric import FloatArray
from onnxq.quant.formats import IntFormat

__all__ = ["HistogramMethod", "Method", "Range", "hull"]

Range = tuple[float, float]


@dataclass(frozen=True)
class Method(ABC):
    """A way to choose a range from a statistic. Subclasses have at most one option, a number."""

    name: ClassVar[str]

    @abstractmethod
    def wants(self) -> Statistic:
        """An empty statistic of the kind that :meth:`range` reads."""

    @abstractmethod
    def range(self, statistic: Statistic, fmt: IntFormat, *, symmetric: bool = False) -> Range:
        """Low and high end, float64, low <= 0 <= high; ``symmetric`` makes them −t and t.

        A value that was never seen gets (0, 0).

        Raises:
            UsageError: the statistic is not of the kind that the method reads.
        """

    def __str__(self) -> str:
        options = [getattr(self, option.name) for option in fields(self)]
        return f"{self.name}:{options[0]:g}" if options else self.name


@dataclass(frozen=True)
class HistogramMethod(Method):
    """A method that reads the whole distribution."""

    def wants(self) -> Statistic:
        return Histogram()

    def range(self, statistic: Statistic, fmt: IntFormat, *, symmetric: bool = False) -> Range:
        if not isinstance(statistic, Histogram):
            raise UsageError(
                f"method '{self.name}' reads a histogram, but '{statistic.kind}' was measured; "
                "calibrate with histograms, or use the method 'minmax'"
            )
        if not statistic.count or statistic.min == statistic.max == 0:
            return 0.0, 0.0
        low, high = self.choose(statistic, fmt, symmetric)
        return hull(low, high, symmetric)

    @abstractmethod
    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        """The range for a histogram that holds at least one value that is not zero."""


def hull(low: float, high: float, symmetric: bool) -> Range:
    """The range widened to hold zero, and to its mirror image if symmetric."""
    low, high = min(float(low), 0.0) + 0.0, max(float(high), 0.0) + 0.0  # + 0.0 turns -0.0 into 0.0
    return (-max(-low, high), max(-low, high)) if symmetric else (low, high)


def clip_to(histogram: Histogram, low: float, high: float) -> Range:
    """The part of a range in which there is data."""
    return max(low, histogram.min), min(high, histogram.max)


def moments_of(histogram: Histogram) -> tuple[float, float, float]:
    """Mean, mean absolute deviation from it, and standard deviation; to the resolution of the bins."""
    x, w = histogram.points()
    total = w.sum()
    mean = float((x * w).sum() / total)
    spread: FloatArray = x - mean
    return mean, float((np.abs(spread) * w).sum() / total), float(np.sqrt((spread**2 * w).sum() / total))
