"""What was measured, as a table."""

from collections.abc import Iterator

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.ranges import get_method, method_names
from onnxq.calibration.statistics import ChannelMinMax, MinMax, Statistic
from onnxq.calibration.store import StatisticsFile
from onnxq.errors import UsageError
from onnxq.quant.formats import IntFormat
from onnxq.report.table import Table
from onnxq.suggest import did_you_mean
from onnxq.words import plural

__all__ = ["chosen", "histogram_of", "origin", "ranges"]


def origin(file: StatisticsFile) -> Iterator[str]:
    """The model and data that were measured, and whether all samples have been."""
    yield f"model: {file.model}"
    yield f"data: {file.data}, {plural(file.samples, 'sample')}"
    yield f"complete: {'yes' if file.complete else 'no, some values have not seen all samples'}"


def ranges(file: StatisticsFile) -> Table:
    """Every value with its statistic, number of elements and bounds; those of channels are the widest."""
    rows = [(name, statistic.kind, *_numbers(statistic)) for name, statistic in file.statistics.items()]
    return Table(plural(len(rows), "value"), ["value", "statistic", ">elements", ">min", ">max"], rows)


def histogram_of(file: StatisticsFile, value: str) -> Histogram:
    """The histogram of one value.

    Raises:
        UsageError: the file has no such value, or measured something else of it.
    """
    statistics = file.statistics
    if value not in statistics:
        raise UsageError(f"the file has no value '{value}'{did_you_mean(value, statistics)}")
    statistic = statistics[value]
    if not isinstance(statistic, Histogram):
        raise UsageError(f"the file holds no histogram of '{value}', but '{statistic.kind}'")
    return statistic


def chosen(histogram: Histogram, dtype: str, *, symmetric: bool) -> dict[str, tuple[float, float]]:
    """The range that each calibration method gives a value.

    Raises:
        UsageError: ``dtype`` names no integer format.
    """
    fmt = IntFormat.parse(dtype)
    return {name: get_method(name).range(histogram, fmt, symmetric=symmetric) for name in method_names()}


def _numbers(statistic: Statistic) -> tuple[str, str, str]:
    if not isinstance(statistic, (MinMax, ChannelMinMax, Histogram)):
        return "-", "-", "-"
    if not statistic.count:
        return "0", "-", "-"
    if isinstance(statistic, ChannelMinMax):
        return str(statistic.count), f"{statistic.min.min():.6g}", f"{statistic.max.max():.6g}"
    return str(statistic.count), f"{statistic.min:.6g}", f"{statistic.max:.6g}"
