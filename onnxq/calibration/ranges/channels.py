"""One range per channel, for weights and for values measured channel by channel."""

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.ranges.base import HistogramMethod, Method, hull
from onnxq.calibration.statistics import ChannelMinMax, bounds, by_channel
from onnxq.graph.numeric import FloatArray
from onnxq.quant.formats import IntFormat

__all__ = ["channel_ranges"]


def channel_ranges(
    method: Method, source: FloatArray | ChannelMinMax, axis: int, fmt: IntFormat, *, symmetric: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Low and high end per slice along ``axis``, float64 [channels] each, low <= 0 <= high.

    ``source`` is a constant of any shape, or the bounds of a value's channels along that axis, of which no
    method can make more than minmax does.

    Raises:
        NotFiniteError: the constant holds NaN or infinity.
        ValueError: there is no such axis.
    """
    if isinstance(source, ChannelMinMax):
        return _hulls(source.min, source.max, symmetric)
    rows = by_channel(source, axis)
    if rows.size:
        bounds(rows)
    if not isinstance(method, HistogramMethod):
        return _hulls(rows.min(axis=1, initial=0.0), rows.max(axis=1, initial=0.0), symmetric)
    found = []
    for row in rows:
        histogram = Histogram()
        histogram.update(row)
        found.append(method.range(histogram, fmt, symmetric=symmetric))
    low, high = np.array(found, np.float64).reshape(-1, 2).T
    return low, high


def _hulls(low: FloatArray, high: FloatArray, symmetric: bool) -> tuple[FloatArray, FloatArray]:
    ends = [hull(a, b, symmetric) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    lows, highs = np.array(ends, np.float64).reshape(-1, 2).T
    return lows, highs
