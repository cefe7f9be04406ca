"""Measure a model once and keep the result: a statistics file that grows by checkpoints.

    file = calibrate(model, samples, {"conv1_out": Histogram()}, progress, path=Path("stats.stats.npz"))

A run that was killed goes on from its last checkpoint and ends in the same bytes; so do runs over parts of
the data that are merged afterwards.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from time import monotonic

import onnx_ir as ir

from onnxq.calibration.fingerprint import fingerprint
from onnxq.calibration.intervals import Intervals
from onnxq.calibration.observe import Options, Sweep
from onnxq.calibration.statistics import Statistic
from onnxq.calibration.store import Record, StatisticsFile
from onnxq.calibration.sweeps import plan_sweeps
from onnxq.data.samples import Sample, Samples
from onnxq.errors import DataError

__all__ = ["begin", "calibrate", "measure"]

Progress = Callable[[str, int, int], None]


class _Checkpoint:
    """Where the file is written, and when the next time is."""

    def __init__(self, path: Path | None, seconds: float) -> None:
        self._path, self._seconds, self._saved = path, seconds, monotonic()

    def due(self) -> bool:
        return self._path is not None and monotonic() - self._saved >= self._seconds

    def save(self, file: StatisticsFile) -> None:
        if self._path is not None:
            file.save(self._path)
            self._saved = monotonic()


def calibrate(
    model: ir.Model,
    samples: Samples,
    wants: Mapping[str, Statistic],
    progress: Progress,
    *,
    path: Path | None = None,
    options: Options | None = None,
    part: range | None = None,
    seconds: float = 10.0,
) -> StatisticsFile:
    """Fill one statistic per value name, and write them to ``path`` every ``seconds`` and at the end.

    A file that is at ``path`` already is continued: what it has counted is not counted again. ``part`` are
    the positions of the samples to count, for a share of the work; its files are merged by
    :func:`onnxq.calibration.store.merge_files`.

    Raises:
        DataError: there are no samples, one does not fit the model, a value becomes NaN or infinite, or the
            file at ``path`` is damaged or of another model, data set or choice of statistics.
        ModelError: the model does not run, or it has no such value.
        UsageError: ``path`` cannot be written; the last checkpoint stays.
    """
    total = len(samples)
    asked = Intervals.of([(part.start, min(part.stop, total))]) if part else Intervals.whole(total)
    file = begin(model, samples, wants, path)
    checkpoint = _Checkpoint(path, seconds)
    file = measure(file, model, samples, asked, progress, options or Options(), checkpoint)
    checkpoint.save(file)
    return file


def begin(
    model: ir.Model, samples: Samples, wants: Mapping[str, Statistic], path: Path | None
) -> StatisticsFile:
    """The file to continue: the one at ``path``, or an empty one of this model, data and statistics.

    Raises:
        DataError: there are no samples, or the file at ``path`` is damaged or does not fit.
    """
    total = len(samples)
    if not total:
        raise DataError("calibration needs at least one sample, but the data set is empty")
    fresh = {name: Record(deepcopy(statistic)) for name, statistic in wants.items()}
    file = StatisticsFile(fingerprint(model), samples.fingerprint(), total, fresh)
    if path is not None and path.exists():
        file = _continued(file, StatisticsFile.load(path), path)
    return file


def _continued(new: StatisticsFile, old: StatisticsFile, path: Path) -> StatisticsFile:
    old.require_model(new.model, path)
    if (old.data, old.samples) != (new.data, new.samples):
        raise DataError(f"'{path}' was measured on other data; give another file, or remove this one")
    for name, record in old.values.items():
        if name in new.values and type(new.values[name].statistic) is not type(record.statistic):
            raise DataError(
                f"'{path}' holds value '{name}' as '{record.statistic.kind}', but "
                f"'{new.values[name].statistic.kind}' is wanted; give another file, or remove this one"
            )
    return replace(old, values={**new.values, **old.values})


def measure(
    file: StatisticsFile,
    model: ir.Model,
    samples: Samples,
    asked: Intervals,
    progress: Progress,
    options: Options,
    checkpoint: _Checkpoint | None = None,
) -> StatisticsFile:
    """The file with all samples that are asked; its statistics are filled in place.

    Values that lack the same samples are observed together.

    Raises:
        DataError: a sample does not fit the model, or a value becomes NaN or infinite.
        ModelError: the model does not run, or it has no such value.
    """
    lacking: dict[Intervals, list[str]] = {}
    for name, record in file.values.items():
        if missing := asked - record.seen:
            lacking.setdefault(missing, []).append(name)
    jobs = [
        (missing, group)
        for missing, names in lacking.items()
        for group in plan_sweeps(model, names, samples, options.memory, options.batch)
    ]
    total, done = sum(len(missing) for missing, _ in jobs), 0
    for missing, group in jobs:
        sweep = Sweep(model, {name: file.values[name].statistic for name in group}, options)
        before = file
        for index in sweep.run(_chosen(samples, missing)):
            counted = missing & Intervals.whole(index + 1)
            progress("calibrating", done + len(counted), total)
            if checkpoint is not None and checkpoint.due():
                checkpoint.save(_advanced(before, sweep, counted))
        done += len(missing)
        file = _advanced(before, sweep, missing)
    return file


def _advanced(file: StatisticsFile, sweep: Sweep, counted: Intervals) -> StatisticsFile:
    after: dict[str, Record] = {}
    for name, statistic in sweep.statistics.items():
        record = file.values[name]
        skipped = sorted({*record.skipped, *sweep.skipped.get(name, ())})
        after[name] = Record(statistic, record.seen | counted, tuple(skipped))
    return replace(file, values={**file.values, **after})


def _chosen(samples: Samples, positions: Intervals) -> Iterator[tuple[int, Sample]]:
    last = positions.pairs[-1][1]
    for index, sample in enumerate(samples):
        if index >= last:
            return
        if index in positions:
            yield index, sample
