"""What people see of a statistics file."""

import xml.etree.ElementTree as ET

import numpy as np

from onnxq.calibration.describe import describe, picture, sketch
from onnxq.calibration.histogram import Histogram
from onnxq.calibration.intervals import Intervals
from onnxq.calibration.moments import Moments
from onnxq.calibration.statistics import ChannelMinMax, Statistic
from onnxq.calibration.store import Record, StatisticsFile


def _filled(statistic: Statistic) -> Statistic:
    statistic.update(np.array([[0, 1, 2, 3], [0, -1, 0, 7]], np.float32))
    return statistic


def test_a_file_is_described_value_by_value() -> None:
    kinds: list[Statistic] = [Histogram(), ChannelMinMax(0), Moments(0)]
    values = {name: Record(_filled(s), Intervals.whole(1)) for name, s in zip("abc", kinds, strict=True)}
    rows = describe(StatisticsFile("m", "d", 1, values))
    assert [(row.name, row.kind, row.count) for row in rows] == [
        ("a", "histogram", 8),
        ("b", "channel-minmax", 4),
        ("c", "moments", 4),
    ]
    assert [(row.low, row.high, row.zeros) for row in rows] == [
        (-1, 7, 0.375),
        (-1, 7, None),
        (None, None, None),
    ]


def test_the_sketch_places_columns_and_ranges() -> None:
    histogram = Histogram()
    histogram.update(np.array([-1, 3, 3, 3, 3], np.float32))
    text = sketch(histogram, {"all": (-1.0, 3.0), "half": (0.0, 1.0)}, width=41, height=2)
    lines = text.splitlines()
    assert [i for i, c in enumerate(lines[1]) if c != " "] == [0, 40]
    assert lines[3] == "├" + "─" * 39 + "┤ all"
    assert lines[4] == " " * 10 + "├" + "─" * 9 + "┤ half"
    assert sketch(Histogram(), {}) == "(never seen)\n"


def test_the_picture_is_well_formed() -> None:
    histogram = Histogram()
    histogram.update(np.arange(-49, 50, dtype=np.float32) / 49)
    root = ET.fromstring(picture(histogram, {"<a & b>": (-0.5, 0.5)}, "x<y"))
    texts = [element.text for element in root if element.tag.endswith("text")]
    axis = ["-1", "-0.5", "0", "0.5", "1"]
    counted = "99 elements, 1.0% zeros, not drawn; heights are logarithmic"
    assert texts == ["x<y", counted, *axis, "<a & b>", "-0.5 … 0.5"]
    bars = [float(element.attrib["x"]) for element in root if element.get("fill") == "#47a"]
    assert len(bars) == 98  # every value in its own column but zero, which is in none
    empty = ET.fromstring(picture(Histogram(), {"all": (0.0, 0.0)}, "t"))
    assert [element.text for element in empty if element.tag.endswith("text")] == ["t", "never seen"]
