"""The statistics file: what was measured, on which model and data, and how far.

A ``.stats.npz`` is an uncompressed zip archive of

    header.json     {"format": "onnxq-statistics", "version": 1,
                     "model": SHA-256, "data": SHA-256, "samples": number of samples in the data set,
                     "values": [{"name", "kind", "seen": [[start, stop], …], "skipped": [position, …]}, …]}
    0/bins.npy …    the arrays of the first value's statistic, named as its class documents; then 1/…

with values sorted by name and fixed dates: equal statistics give equal bytes. ``seen`` are the positions
counted so far, half-open; a finished file has [[0, samples]] everywhere. Nothing is pickled, and reading
never allocates more than the file's own size.
"""

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxq.calibration.fingerprint import fingerprint as model_fingerprint
from onnxq.calibration.intervals import Intervals
from onnxq.calibration.kinds import restore
from onnxq.calibration.statistics import Statistic
from onnxq.errors import DataError
from onnxq.files import write_atomically
from onnxq.graph.numeric import Array
from onnxq.words import plural

__all__ = ["Record", "StatisticsFile", "merge_files"]

FORMAT, VERSION = "onnxq-statistics", 1
_DATE = (1980, 1, 1, 0, 0, 0)
_DAMAGED = (zipfile.BadZipFile, ValueError, LookupError, TypeError, EOFError, OSError, RuntimeError)


@dataclass(frozen=True)
class Record:
    """One value: its statistic, the positions of the samples in it, and those left out as not finite."""

    statistic: Statistic
    seen: Intervals = field(default_factory=Intervals)
    skipped: tuple[int, ...] = ()


@dataclass(frozen=True)
class StatisticsFile:
    """All that was measured of a model; ``model`` and ``data`` are fingerprints of ``samples`` samples."""

    model: str
    data: str
    samples: int
    values: Mapping[str, Record] = field(default_factory=dict)

    @property
    def statistics(self) -> Mapping[str, Statistic]:
        """The statistic of each value."""
        return {name: record.statistic for name, record in self.values.items()}

    @property
    def complete(self) -> bool:
        """Whether every value has seen every sample."""
        return all(record.seen == Intervals.whole(self.samples) for record in self.values.values())

    def require_model(self, fingerprint: str, path: Path | None = None) -> None:
        """Refuse statistics of another model.

        Raises:
            DataError: the fingerprint is not the file's.
        """
        if fingerprint != self.model:
            which = f"the statistics in '{path}'" if path else "these statistics"
            raise DataError(
                f"{which} were measured on another model ({self.model[:12]}…) than this one "
                f"({fingerprint[:12]}…); calibrate this model, or give the one they belong to"
            )

    def select(self, model: ir.Model, wants: Iterable[str]) -> Mapping[str, Statistic]:
        """The statistics of some values of ``model``.

        Raises:
            DataError: they are of another model, the run that made them is not finished, or one is missing.
        """
        self.require_model(model_fingerprint(model))
        if not self.complete:
            raise DataError(
                "the run that measured these statistics is not finished: run onnxq calibrate again"
            )
        if missing := [name for name in wants if name not in self.values]:
            raise DataError(
                f"these statistics lack '{missing[0]}' ({plural(len(missing), 'value')} in all): they were "
                "measured for another target or other options; run onnxq calibrate with those of this run"
            )
        return {name: self.values[name].statistic for name in wants}

    def to_bytes(self) -> bytes:
        """The file's content."""
        names = sorted(self.values)
        header = {"format": FORMAT, "version": VERSION, "model": self.model, "data": self.data}
        header |= {"samples": self.samples, "values": [_described(n, self.values[n]) for n in names]}
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            _put(archive, "header.json", json.dumps(header, indent=1, ensure_ascii=False).encode())
            for position, name in enumerate(names):
                for key, array in self.values[name].statistic.to_arrays().items():
                    _put(archive, f"{position}/{key}.npy", _npy(array))
        return buffer.getvalue()

    def save(self, path: Path) -> None:
        """Write the file in one step; an older one stays whole until then.

        Raises:
            UsageError: it cannot be written there.
        """
        write_atomically(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> "StatisticsFile":
        """Read a file.

        Raises:
            DataError: there is none, or it is damaged, cut off, of a newer version or no statistics file.
        """
        if not path.is_file():
            raise DataError(f"there is no statistics file '{path}'; make one with: onnxq calibrate")
        return cls.from_bytes(path.read_bytes(), f"'{path}'")

    @classmethod
    def from_bytes(cls, content: bytes, what: str) -> "StatisticsFile":
        """The inverse of :meth:`to_bytes`; ``what`` is how messages call the content.

        Raises:
            DataError: as for :meth:`load`.
        """
        try:
            return _read(content)
        except _DAMAGED as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{what} is no readable statistics file, it may be damaged or cut off: {text}; "
                "measure again with: onnxq calibrate"
            ) from error


def merge_files(files: Sequence[StatisticsFile]) -> StatisticsFile:
    """One file of several over the same model and data. The given statistics are used up.

    Raises:
        DataError: they belong to different models or data, measure a value differently, or two of them
            have counted the same sample.
    """
    if not files:
        raise DataError("there are no statistics to merge")
    merged = dict(files[0].values)
    for other in files[1:]:
        if (other.model, other.data, other.samples) != (files[0].model, files[0].data, files[0].samples):
            what = "models" if other.model != files[0].model else "data"
            raise DataError(f"statistics of different {what} cannot be merged; measure both on the same")
        for name, record in other.values.items():
            merged[name] = _merged(name, merged[name], record) if name in merged else record
    return replace(files[0], values=merged)


def _merged(name: str, ours: Record, theirs: Record) -> Record:
    if both := ours.seen & theirs.seen:
        raise DataError(f"value '{name}': the samples {both} are in both statistics; they would count twice")
    if type(ours.statistic) is not type(theirs.statistic):
        raise DataError(
            f"value '{name}' was measured as '{ours.statistic.kind}' and as '{theirs.statistic.kind}'"
        )
    try:
        ours.statistic.merge(theirs.statistic)
    except ValueError as error:
        raise DataError(f"value '{name}': {error}") from error
    return Record(ours.statistic, ours.seen | theirs.seen, tuple(sorted({*ours.skipped, *theirs.skipped})))


def _described(name: str, record: Record) -> dict[str, object]:
    kind, seen = record.statistic.kind, [list(pair) for pair in record.seen.pairs]
    return {"name": name, "kind": kind, "seen": seen, "skipped": list(record.skipped)}


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _DATE), content)


def _npy(array: Array) -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    return buffer.getvalue()


def _read(content: bytes) -> StatisticsFile:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise ValueError("it is a compressed archive, which onnxq does not write")
        header = json.loads(archive.read("header.json"))
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        if header["version"] != VERSION:
            raise ValueError(f"its version is {header['version']!r}, this onnxq reads {VERSION}")
        groups: dict[str, dict[str, Array]] = {}
        for name in archive.namelist():
            group, slash, key = name.partition("/")
            if slash:
                groups.setdefault(group, {})[key.removesuffix(".npy")] = _array(archive.read(name))
    values = {str(v["name"]): _record(v, groups.get(str(i), {})) for i, v in enumerate(header["values"])}
    file = StatisticsFile(str(header["model"]), str(header["data"]), int(header["samples"]), values)
    if file.to_bytes() != content:
        raise ValueError("it has other bytes than these statistics give")
    return file


def _record(entry: Mapping[str, object], arrays: Mapping[str, Array]) -> Record:
    seen, skipped = entry["seen"], entry["skipped"]
    if not isinstance(seen, list) or not isinstance(skipped, list):
        raise ValueError(f"value {entry['name']!r} does not say which samples it has seen")
    intervals = Intervals.of((int(start), int(stop)) for start, stop in seen)
    return Record(restore(str(entry["kind"]), arrays), intervals, tuple(int(i) for i in skipped))


def _array(content: bytes) -> Array:
    """A .npy file of numbers, whose declared shape must be that of the bytes that are there."""
    stream = BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"an array is stored in npy format {version}, not (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    body = content[stream.tell() :]
    if dtype.kind not in "iuf" or fortran or prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"an array of {dtype}{shape} has {len(body)} bytes")
    array: Array = np.frombuffer(body, dtype).reshape(shape).copy()
    return array
