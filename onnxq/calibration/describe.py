"""Statistics for people: a table, a histogram in the terminal, and the same as an SVG picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from math import log1p

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.intervals import Intervals
from onnxq.calibration.store import StatisticsFile
from onnxq.graph.numeric import FloatArray

__all__ = ["Summary", "describe", "picture", "sketch"]

Ranges = Mapping[str, tuple[float, float]]
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Summary:
    """One value of a file; numbers are None where its kind of statistic does not tell them."""

    name: str
    kind: str
    seen: Intervals
    skipped: int
    count: int | None
    low: float | None
    high: float | None
    zeros: float | None
    """The share of zeros, 0 to 1."""


def describe(file: StatisticsFile) -> list[Summary]:
    """All values of a file, sorted by name."""
    rows = []
    for name, record in sorted(file.values.items()):
        statistic = record.statistic
        count = getattr(statistic, "count", None)
        low, high = (getattr(statistic, end, None) for end in ("min", "max"))
        if isinstance(low, np.ndarray) and isinstance(high, np.ndarray):
            low, high = float(low.min(initial=np.inf)), float(high.max(initial=-np.inf))
        zeros = statistic.zeros / statistic.count if isinstance(statistic, Histogram) and count else None
        rows.append(Summary(name, statistic.kind, record.seen, len(record.skipped), count, low, high, zeros))
    return rows


def sketch(histogram: Histogram, ranges: Ranges, width: int = 72, height: int = 8) -> str:
    """Columns of counts on a logarithmic scale, below them one line per range; text of ``width`` columns.

    Zeros are not drawn, as they would hide everything else.
    """
    if not histogram.count or histogram.width == 0:
        return "(only zeros)\n" if histogram.count else "(never seen)\n"
    low, high, columns = _columns(histogram, ranges, width)
    scaled = np.log1p(columns) / log1p(columns.max()) * height
    lines = []
    for level in reversed(range(height)):
        cells = np.clip(np.rint((scaled - level) * 8), 0, 8).astype(int)
        lines.append("".join(_BARS[cell] for cell in cells).rstrip())
    lines.append(f"{low:<{width // 2}.4g}{high:>{width - width // 2}.4g}")
    for name, (start, stop) in ranges.items():
        a, b = (round((end - low) / (high - low) * (width - 1)) for end in (start, stop))
        lines.append(" " * a + "├" + "─" * max(b - a - 1, 0) + ("┤" if b > a else "") + f" {name}")
    return "\n".join(lines) + "\n"


def picture(histogram: Histogram, ranges: Ranges, title: str, width: int = 900, height: int = 420) -> str:
    """The same as a self-contained SVG document."""
    plot = height - 60 - 18 * len(ranges)
    body = [f'<text x="10" y="20" font-size="14">{escape(title)}</text>']
    if histogram.count and histogram.width:
        low, high, columns = _columns(histogram, ranges, width - 20)
        tall = np.log1p(columns) / log1p(columns.max()) * (plot - 30)
        top = 30 + (plot - 30) - tall
        body += [
            f'<rect x="{10 + i}" y="{y:.1f}" width="1" height="{h:.1f}" fill="#4477aa"/>'
            for i, (y, h) in enumerate(zip(top, tall, strict=True))
            if h > 0
        ]
        body.append(f'<text x="10" y="{plot + 16}">{low:.4g}</text>')
        body.append(f'<text x="{width - 10}" y="{plot + 16}" text-anchor="end">{high:.4g}</text>')
        for row, (name, ends) in enumerate(ranges.items()):
            a, b = (10 + (end - low) / (high - low) * (width - 20) for end in ends)
            y = plot + 34 + 18 * row
            body.append(
                f'<path d="M{a:.1f} {y - 6}v8M{a:.1f} {y - 2}H{b:.1f}M{b:.1f} {y - 6}v8" stroke="#cc3311"/>'
            )
            body.append(f'<text x="{min(b + 6, width - 120):.1f}" y="{y + 2}">{escape(name)}</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
    )
    return f'{head} font-size="11" fill="#222">' + "".join(body) + "</svg>\n"


def _columns(histogram: Histogram, ranges: Ranges, width: int) -> tuple[float, float, FloatArray]:
    """Ends of the axis, which hold all data and ranges, and the counts in ``width`` equal columns."""
    low = min([histogram.min, 0.0, *(start for start, _ in ranges.values())])
    high = max([histogram.max, 0.0, *(stop for _, stop in ranges.values())])
    values, weights = histogram.points()
    weights = np.where(values == 0, 0.0, weights)
    places = np.minimum(((values - low) / (high - low) * width).astype(int), width - 1)
    return low, high, np.bincount(places, weights, minlength=width).astype(np.float64)
