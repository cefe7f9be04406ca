"""Layers that are rounded already, kept on the disk: a run that was killed goes on from them.

A folder holds ``rounding-KEY/ORDER.layer`` for each layer, by its place in the schedule; a second try goes on
counting. KEY is a hash of all that the result depends on: the model, the data, the options and the seed, so
that runs over other models may share the folder. A file is

    SHA-256 of the rest, 32 bytes
    codes: int16, steps: float32 (one an output, or one a weight), shift, before, after: float64

and is as long as the layer's shape says; nothing in it is a length.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxq.errors import DataError, UsageError
from onnxq.files import write_atomically
from onnxq.graph.numeric import Array
from onnxq.rounding.rounded import Rounded

__all__ = ["Checkpoint"]

_VERSION = "onnxq-rounding 1"
_DIGEST = 32


@dataclass(frozen=True)
class Checkpoint:
    """The rounded layers of one run; without a folder nothing is kept."""

    folder: Path | None

    @classmethod
    def of(cls, root: Path | None, identity: Sequence[str]) -> "Checkpoint":
        """The checkpoint below ``root`` of a run that ``identity`` tells from all others.

        Raises:
            UsageError: its folder cannot be made.
        """
        if root is None:
            return cls(None)
        key = hashlib.sha256(repr([_VERSION, *identity]).encode()).hexdigest()[:20]
        folder = root / f"rounding-{key}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the checkpoint folder '{folder}': {error.strerror}") from error
        return cls(folder)

    def layer(self, order: int, shape: Sequence[int]) -> Rounded | None:
        """The layer at a place, its weights of ``shape`` [groups, outputs, inputs]; None if there is none.

        Raises:
            DataError: the file is damaged.
        """
        path = self._path(order)
        if path is None or not path.is_file():
            return None
        sizes = [_size(shape, whole) for whole in (False, True)]
        if (found := path.stat().st_size) not in sizes:
            raise _damaged(path, f"it has {found} bytes, expected {sizes[0]}")
        content = path.read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            raise _damaged(path, "its checksum is wrong")
        return _decode(content[_DIGEST:], shape, whole=found != sizes[0])

    def keep(self, order: int, rounded: Rounded) -> None:
        """Remember a layer.

        Raises:
            UsageError: it cannot be written.
        """
        if (path := self._path(order)) is not None:
            body = b"".join(array.tobytes() for array in _encode(rounded))
            write_atomically(path, hashlib.sha256(body).digest() + body)

    def _path(self, order: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{order:05}.layer"


def _encode(rounded: Rounded) -> Iterator[Array]:
    scale = np.broadcast_to(rounded.scale, rounded.weights.shape)
    yield np.rint(rounded.weights / scale).astype("<i2")
    yield (scale if _varies(scale) else scale[:, :, :1]).astype("<f4")
    yield from (part.astype("<f8") for part in (rounded.shift, rounded.before, rounded.after))


def _decode(body: bytes, shape: Sequence[int], *, whole: bool) -> Rounded:
    groups, outputs, inputs = shape
    parts, start = [], 0
    layout = [("<i2", inputs), ("<f4", inputs if whole else 1), ("<f8", 1), ("<f8", 1), ("<f8", 1)]
    for dtype, columns in layout:
        count = groups * outputs * columns
        array = np.frombuffer(body, dtype, count, start).reshape(groups, outputs, columns)
        parts.append(array.astype(np.float64))
        start += array.nbytes
    codes, scale, shift, before, after = parts
    scale = np.broadcast_to(scale, codes.shape)
    return Rounded(codes * scale, scale, shift[:, :, 0], before[:, :, 0], after[:, :, 0])


def _size(shape: Sequence[int], whole: bool) -> int:
    groups, outputs, inputs = shape
    return _DIGEST + groups * outputs * (2 * inputs + 4 * (inputs if whole else 1) + 24)


def _varies(scale: Array) -> bool:
    return bool(scale.shape[2] > 1 and np.any(scale != scale[:, :, :1]))


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"the checkpoint '{path}' is damaged: {why}; remove it, and its layer is rounded again")
