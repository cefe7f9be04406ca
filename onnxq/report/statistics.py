"""What was measured, as a table."""

from collections.abc import Iterator

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.statistics import ChannelMinMax, MinMax, Statistic
from onnxq.calibration.store import StatisticsFile
from onnxq.report.table import Table, plural

__all__ = ["origin", "ranges"]


def origin(file: StatisticsFile) -> Iterator[str]:
    """The model and data that were measured, and whether all samples have been."""
    yield f"model: {file.model}"
    yield f"data: {file.data}, {plural(file.samples, 'sample')}"
    yield f"complete: {'yes' if file.complete else 'no, some values have not seen all samples'}"


def ranges(file: StatisticsFile) -> Table:
    """Every value with its statistic, number of elements and bounds; those of channels are the widest."""
    rows = [(name, statistic.kind, *_numbers(statistic)) for name, statistic in file.statistics.items()]
    return Table(plural(len(rows), "value"), ["value", "statistic", ">elements", ">min", ">max"], rows)


def _numbers(statistic: Statistic) -> tuple[str, str, str]:
    if not isinstance(statistic, (MinMax, ChannelMinMax, Histogram)):
        return "-", "-", "-"
    if not statistic.count:
        return "0", "-", "-"
    if isinstance(statistic, ChannelMinMax):
        return str(statistic.count), f"{statistic.min.min():.6g}", f"{statistic.max.max():.6g}"
    return str(statistic.count), f"{statistic.min:.6g}", f"{statistic.max:.6g}"
