"""Methods by name, and ``auto``, which tries them all."""

from dataclasses import dataclass, fields, replace

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.ranges.aciq import Aciq
from onnxq.calibration.ranges.base import HistogramMethod, Method, Range, hull
from onnxq.calibration.ranges.entropy import Entropy
from onnxq.calibration.ranges.error import squared_error
from onnxq.calibration.ranges.mse import Admm, Mse, Pow2
from onnxq.calibration.ranges.simple import Distribution, Ema, Eq, MinMaxMethod, Percentile
from onnxq.errors import UsageError
from onnxq.quant.formats import IntFormat

__all__ = ["Auto", "get_method", "method_names"]


@dataclass(frozen=True)
class Auto(HistogramMethod):
    """The range of least estimated squared error among those of all other methods, for each value apart."""

    name = "auto"

    def choose(self, histogram: Histogram, fmt: IntFormat, symmetric: bool) -> Range:
        tried = [method.range(histogram, fmt, symmetric=symmetric) for method in _TRIED]
        ranges = [hull(low, high, symmetric) for low, high in tried]
        low, high = (np.array(ends) for ends in zip(*ranges, strict=True))
        return ranges[int(np.argmin(squared_error(histogram, low, high, fmt, symmetric)))]


_TRIED = (
    MinMaxMethod(),
    *map(Percentile, (99.9, 99.99, 99.999)),
    Entropy(),
    Aciq(),
    Admm(),
    Mse(),
)
_ALL = (MinMaxMethod(), Ema(), Percentile(), Entropy(), Mse(), Aciq(), Admm(), Distribution(), Pow2(), Auto())
_BY_NAME: dict[str, Method] = {method.name: method for method in (*_ALL, Eq())}
_BOUNDS = {"ema": (0.0, 1.0), "percentile": (50.0, 100.0), "distribution": (0.0, 1e6)}


def method_names() -> list[str]:
    """The methods that find a range from statistics alone: all that :func:`get_method` knows but ``eq``."""
    return [method.name for method in _ALL]


def get_method(text: str) -> Method:
    """``mse``, ``percentile:99.99``, ``ema:0.9``, ``distribution:3`` …; without a number its default.

    Raises:
        UsageError: no such method, it takes no number, or the number is out of its bounds.
    """
    name, colon, number = text.strip().partition(":")
    if name not in _BY_NAME:
        raise UsageError(f"there is no calibration method '{name}'; there are {', '.join(_BY_NAME)}")
    method = _BY_NAME[name]
    if not colon:
        return method
    options = fields(method)
    if not options:
        raise UsageError(f"calibration method '{name}' takes no number, but '{text}' gives one")
    low, high = _BOUNDS[name]
    try:
        value = float(number)
    except ValueError as error:
        raise UsageError(f"'{number}' in '{text}' is no number") from error
    if not low <= value <= high:
        raise UsageError(f"'{text}': {options[0].name} must lie between {low:g} and {high:g}")
    return replace(method, **{options[0].name: value})
