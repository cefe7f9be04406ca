"""Samples from Python: sequences, iterators, functions and the data readers of ONNX Runtime.

What can be started afresh is; what can be read once only goes to temporary files first, so that
memory stays flat and every pass sees the same samples.
"""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from onnxq.data.arrays import is_numeric, read_npz, write_npz
from onnxq.data.samples import Sample, Samples
from onnxq.errors import DataError
from onnxq.graph.numeric import Array

__all__ = ["DataReader", "Feeds", "SpooledSamples", "iterable_samples"]

Feeds: TypeAlias = Mapping[str, Array]


@runtime_checkable
class DataReader(Protocol):
    """ONNX Runtime's ``CalibrationDataReader``; a ``rewind()`` is used where there is one."""

    def get_next(self) -> Feeds | None: ...


def iterable_samples(
    source: Iterable[Feeds] | Callable[[], Iterable[Feeds]] | DataReader, limit: int | None
) -> Samples:
    """Samples from anything that gives dicts of arrays; at most the first ``limit`` of them.

    A sequence or other re-iterable, a function and a reader with ``rewind`` are started afresh at each
    pass and must then give the same again. Iterators, generators and other readers are spooled.

    Raises:
        DataError: an item is no dict of arrays of numbers, or the source has none of these forms.
    """
    if isinstance(source, DataReader):
        rewind = getattr(source, "rewind", None)
        if rewind is None:
            return SpooledSamples(_drain(source), limit)
        return _Repeated(lambda: _rewound(source, rewind), limit)
    if isinstance(source, Iterator):
        return SpooledSamples(source, limit)
    if isinstance(source, Iterable):
        return _Repeated(source.__iter__, limit)
    if callable(source):
        return _Repeated(source, limit)
    raise DataError(f"samples cannot come from {type(source).__name__}: expected {_EXPECTED}")


_EXPECTED = (
    "a folder or file, random:N, dicts {input name: array} in a sequence or iterator, a function that "
    "returns an iterator of them, or an object with get_next()"
)


@dataclass(frozen=True)
class _Repeated(Samples):
    start: Callable[[], Iterable[Feeds]]
    limit: int | None

    def __iter__(self) -> Iterator[Sample]:
        return _named(self.start(), self.limit)

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self)


class SpooledSamples(Samples):
    """A one-shot iterator written to a temporary folder, which goes when this object does."""

    def __init__(self, items: Iterable[Feeds], limit: int | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="onnxq-samples-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._names: list[str] = []
        for i, sample in enumerate(_named(items, limit)):
            self._write(i, sample)

    def __iter__(self) -> Iterator[Sample]:
        for i, name in enumerate(self._names):
            yield Sample(name, read_npz(self._folder / f"{i}.npz"))

    def __len__(self) -> int:
        return len(self._names)

    def _write(self, i: int, sample: Sample) -> None:
        try:
            write_npz(self._folder / f"{i}.npz", sample.feeds)
        except OSError as error:
            raise DataError(
                f"{sample.name} cannot be kept in '{self._folder}' ({error}): "
                "give a re-iterable source or fewer samples"
            ) from error
        self._names.append(sample.name)


def _named(items: Iterable[Feeds | Sample], limit: int | None) -> Iterator[Sample]:
    for i, item in enumerate(islice(items, limit)):
        yield item if isinstance(item, Sample) else Sample(f"sample[{i}]", _arrays(f"sample[{i}]", item))


def _arrays(name: str, item: Feeds) -> dict[str, Array]:
    if not isinstance(item, Mapping):
        raise DataError(f"{name} is a {type(item).__name__}: expected a dict {{input name: array}}")
    arrays = {str(key): np.asarray(value) for key, value in item.items()}
    for key, array in arrays.items():
        if not is_numeric(array.dtype):
            raise DataError(f"{name}: input '{key}' is an array of {array.dtype}, expected numbers")
    return arrays


def _drain(reader: DataReader) -> Iterator[Feeds]:
    while (item := reader.get_next()) is not None:
        yield item


def _rewound(reader: DataReader, rewind: Callable[[], object]) -> Iterator[Feeds]:
    rewind()
    yield from _drain(reader)
