"""Statistics for people: a table, a histogram in the terminal, and the same as an SVG picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log1p, log10

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.intervals import Intervals
from onnxq.calibration.store import StatisticsFile
from onnxq.graph.numeric import FloatArray

__all__ = ["Summary", "describe", "picture", "sketch"]

Ranges = Mapping[str, tuple[float, float]]
_BARS = " ▁▂▃▄▅▆▇█"
LEFT, PLOT, RIGHT = 110, 720, 170
"""Widths in a picture: names, bars, numbers."""
TOP, TALL, ROW, BAR = 56, 260, 20, 4
"""Where the bars begin, how high and wide they are; the height of a method's row."""
TITLE = 110
"""Letters of a title that fit."""


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


def picture(histogram: Histogram, ranges: Ranges, title: str) -> str:
    """The same as a self-contained SVG document; below the histogram each method's range and its ends."""
    axis = LEFT + PLOT
    shown = title if len(title) <= TITLE else f"…{title[1 - TITLE :]}"
    height = TOP + TALL + 40 + ROW * len(ranges)
    body = [
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="10" y="22" font-size="14">{escape(shown)}</text>',
        f'<text x="10" y="42" fill="#777">{_counted(histogram)}</text>',
    ]
    if histogram.count and histogram.width:
        low, high, columns = _columns(histogram, ranges, PLOT // BAR)
        scale = PLOT / (high - low)
        body += [*_bars(columns), *_ticks(low, high, scale)]
        for row, (name, (start, stop)) in enumerate(ranges.items()):
            a, b = LEFT + (start - low) * scale, LEFT + (stop - low) * scale
            y = TOP + TALL + 46 + ROW * row
            body.append(f'<path d="M{a:.1f} {y - 9}v9m0-4.5H{b:.1f}m0-4.5v9" stroke="#c31" fill="none"/>')
            body.append(f'<text x="{LEFT - 12}" y="{y}" text-anchor="end">{escape(name)}</text>')
            body.append(f'<text x="{axis + 12}" y="{y}">{start:.4g} … {stop:.4g}</text>')
    size = f'width="{axis + RIGHT}" height="{height}" viewBox="0 0 {axis + RIGHT} {height}"'
    font = 'font-family="sans-serif" font-size="12" fill="#222"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>{"".join(body)}</svg>\n'


def _counted(histogram: Histogram) -> str:
    if not histogram.count or histogram.width == 0:
        return "only zeros" if histogram.count else "never seen"
    zeros = f"{histogram.zeros / histogram.count:.1%} zeros, not drawn" if histogram.zeros else "no zeros"
    elements = f"{histogram.count:,} element{'s' if histogram.count != 1 else ''}"
    return f"{elements}, {zeros}; heights are logarithmic"


def _bars(columns: FloatArray) -> list[str]:
    tall = np.log1p(columns) / log1p(columns.max()) * TALL
    return [
        f'<rect x="{LEFT + BAR * i}" y="{TOP + TALL - h:.1f}" width="{BAR}" height="{h:.1f}" fill="#47a"/>'
        for i, h in enumerate(tall)
        if h > 0
    ]


def _ticks(low: float, high: float, scale: float) -> list[str]:
    """An axis with round numbers below the bars, and a line through zero."""
    base = TOP + TALL
    body = [f'<path d="M{LEFT} {base}H{LEFT + PLOT}" stroke="#222"/>']
    power = 10.0 ** floor(log10((high - low) / 4))
    step = next(power * k for k in (10, 5, 2, 1) if (high - low) / (power * k) >= 4)
    for tick in range(ceil(low / step), floor(high / step) + 1):
        x = LEFT + (tick * step - low) * scale
        if tick == 0:
            body.append(f'<path d="M{x:.1f} {TOP}V{base}" stroke="#999" stroke-dasharray="3 3"/>')
        body.append(f'<path d="M{x:.1f} {base}v5" stroke="#222"/>')
        body.append(f'<text x="{x:.1f}" y="{base + 19}" text-anchor="middle">{tick * step:.4g}</text>')
    return body


def _columns(histogram: Histogram, ranges: Ranges, width: int) -> tuple[float, float, FloatArray]:
    """Ends of the axis, which hold all data and ranges, and the counts in ``width`` equal columns."""
    low = min([histogram.min, 0.0, *(start for start, _ in ranges.values())])
    high = max([histogram.max, 0.0, *(stop for _, stop in ranges.values())])
    values, weights = histogram.points()
    weights = np.where(values == 0, 0.0, weights)
    places = np.minimum(((values - low) / (high - low) * width).astype(int), width - 1)
    return low, high, np.bincount(places, weights, minlength=width).astype(np.float64)
