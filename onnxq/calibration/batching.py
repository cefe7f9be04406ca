"""Several samples in one run of the model, where that changes no bit of what is measured.

Samples of equal shapes are joined along the free first axis of the inputs. Whether a model keeps them apart
is not believed but tried: for every combination of shapes the first batch runs both ways, and batches are
used only if every wanted value of the batch falls apart, along some axis, into exactly the arrays of its
samples. ONNX Runtime chooses kernels by shape, so what holds for the first batch holds for the others; where
its kernels sum in another order for a batch (a MatMul of one row often does) samples go one by one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from onnxq.data.samples import Sample
from onnxq.errors import DataError, ModelError
from onnxq.graph.numeric import Array
from onnxq.runtime import Session

__all__ = ["BatchRunner", "Placed", "grouped"]

Placed = tuple[int, Sample]
"""A sample and its position in the data set."""

_Shapes = tuple[tuple[str, tuple[int, ...]], ...]
_WHOLE = -1
"""The array is the same for the batch and for each of its samples: nothing in it depends on the inputs."""


def grouped(samples: Iterable[Placed], size: int) -> Iterator[list[Placed]]:
    """Runs of ``size`` consecutive samples of equal shapes; samples that fill none come alone."""
    waiting: list[Placed] = []
    for placed in samples:
        if waiting and _shapes(placed[1]) != _shapes(waiting[0][1]):
            yield from ([one] for one in waiting)
            waiting = []
        waiting.append(placed)
        if len(waiting) == size:
            yield waiting
            waiting = []
    yield from ([one] for one in waiting)


class BatchRunner:
    """Computes ``asked`` values of samples, in batches as far as that gives the same bits."""

    def __init__(self, session: Session, asked: Sequence[str]) -> None:
        self._session, self._asked = session, asked
        self._free = {p.name for p in session.inputs if p.shape and not isinstance(p.shape[0], int)}
        self._cuts: dict[_Shapes, Mapping[str, int] | None] = {}

    def run(self, group: Sequence[Placed]) -> list[dict[str, Array]]:
        """The feeds and asked values of each sample, in their order.

        Raises:
            DataError: a sample does not fit the model.
            ModelError: the model does not run.
        """
        joined = self._joined(group)
        if joined is None:
            return self._singly(group)
        shapes = _shapes(group[0][1])
        if shapes not in self._cuts:
            singles = self._singly(group)
            self._cuts[shapes] = self._tried(joined, singles)
            return singles
        if (cuts := self._cuts[shapes]) is None:
            return self._singly(group)
        whole = self._session.run(joined, self._asked)
        parts = {name: _parts(whole[name], cuts[name], len(group)) for name in self._asked}
        return [
            {**sample.feeds, **{name: parts[name][i] for name in self._asked}}
            for i, (_, sample) in enumerate(group)
        ]

    def _singly(self, group: Sequence[Placed]) -> list[dict[str, Array]]:
        return [self._one(sample) for _, sample in group]

    def _one(self, sample: Sample) -> dict[str, Array]:
        try:
            return {**sample.feeds, **self._session.run(sample.feeds, self._asked)}
        except DataError as error:
            raise DataError(f"sample '{sample.name}': {error}") from error

    def _joined(self, group: Sequence[Placed]) -> dict[str, Array] | None:
        """One feed for all: joined where the first axis is free, else the same for all; None if it is not."""
        if len(group) == 1 or not self._free:
            return None
        joined = {}
        for name in group[0][1].feeds:
            arrays = [sample.feeds[name] for _, sample in group]
            if name in self._free:
                joined[name] = np.concatenate(arrays)
            elif all(np.array_equal(arrays[0], array) for array in arrays[1:]):
                joined[name] = arrays[0]
            else:
                return None
        return joined

    def _tried(
        self, joined: Mapping[str, Array], singles: Sequence[Mapping[str, Array]]
    ) -> Mapping[str, int] | None:
        """The axis along which each value falls apart into those of the samples; None if one does not."""
        try:
            whole = self._session.run(joined, self._asked)
        except ModelError:  # such as a Reshape to one sample's shape
            return None
        cuts = {name: _cut(whole[name], [single[name] for single in singles]) for name in self._asked}
        found = {name: cut for name, cut in cuts.items() if cut is not None}
        return found if len(found) == len(cuts) else None


def _shapes(sample: Sample) -> _Shapes:
    return tuple((name, array.shape) for name, array in sample.feeds.items())


def _cut(whole: Array, parts: Sequence[Array]) -> int | None:
    axes: list[int] = [*range(whole.ndim), _WHOLE]
    for axis in axes:
        if axis != _WHOLE and whole.shape[axis] % len(parts):
            continue
        pieces = _parts(whole, axis, len(parts))
        if all(_same(piece, part) for piece, part in zip(pieces, parts, strict=True)):
            return axis
    return None


def _parts(whole: Array, axis: int, count: int) -> Sequence[Array]:
    return [whole] * count if axis == _WHOLE else np.split(whole, count, axis)


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
