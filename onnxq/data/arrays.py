"""Reading .npy and .npz files from strangers: no pickle, no memory for what a header merely claims.

The header's shape is compared with the bytes that are really there before anything is allocated, and a
compressed archive may unpack to :data:`MAX_SAMPLE_BYTES` at most. Booleans, integers and floats of numpy
only; format version 1.0, the one numpy writes for all of these.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Literal

import numpy as np

from onnxq.data.samples import MAX_SAMPLE_BYTES
from onnxq.errors import DataError
from onnxq.graph.numeric import Array

__all__ = ["is_numeric", "map_npy", "read_npy", "read_npz", "write_npz"]


def is_numeric(dtype: np.dtype[np.generic]) -> bool:
    """Whether a dtype is a boolean, integer or real float of numpy: nothing that needs pickle."""
    return dtype.kind in "biuf" and not dtype.hasobject


def read_npz(path: str | PathLike[str]) -> dict[str, Array]:
    """All arrays of an .npz file by their keys.

    Raises:
        DataError: the file is damaged, holds something else than numbers, or unpacks to too much.
    """
    with _blaming(path), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _bound(sum(entry.file_size for entry in entries))
        arrays = {_key(entry.filename): _unpack(archive, entry) for entry in entries}
        if len(arrays) < len(entries):
            raise ValueError("two arrays have the same key")
        return arrays


def read_npy(path: str | PathLike[str]) -> Array:
    """The array of an .npy file, in memory.

    Raises:
        DataError: the file is damaged, too large, or holds something else than numbers.
    """
    with _blaming(path):
        _bound(Path(path).stat().st_size)
    return np.array(map_npy(path), order="C")


def map_npy(path: str | PathLike[str]) -> Array:
    """The array of an .npy file, mapped read-only: pages are loaded as they are touched.

    Raises:
        DataError: the file is damaged or holds something else than numbers.
    """
    with _blaming(path):
        with open(path, "rb") as stream:
            header = _Header.read(stream, Path(path).stat().st_size)
            offset = stream.tell()
        if header.size == 0:
            return np.empty(header.shape, header.dtype)
        array: Array = np.memmap(path, header.dtype, "r", offset, header.shape, header.order)
        return array


def write_npz(path: str | PathLike[str], feeds: Mapping[str, Array]) -> None:
    """Write arrays by their keys; unlike ``numpy.savez``, any key will do, ``file`` for one."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in feeds.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)


@dataclass(frozen=True)
class _Header:
    """What an .npy header declares, after it was compared with the file's size."""

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[np.generic]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @staticmethod
    def read(stream: IO[bytes], length: int) -> "_Header":
        """Read the header at the start of a stream of ``length`` bytes."""
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"format version {version} is not read here; save plain arrays of numbers")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if not is_numeric(dtype):
            raise ValueError(f"its dtype is {dtype}, expected booleans, integers or floats (no objects)")
        header = _Header(shape, "F" if fortran else "C", dtype)
        present = length - stream.tell()
        if min(shape, default=0) < 0 or header.size * dtype.itemsize != present:
            raise ValueError(f"it declares {dtype}{list(shape)} but holds {present} bytes of data")
        return header


@contextmanager
def _blaming(path: str | PathLike[str]) -> Iterator[None]:
    # Parsers of foreign bytes (zip, zlib, numpy's header grammar) raise whatever they please.
    try:
        yield
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise DataError(
            f"'{path}' cannot be read: {error}; write it again with numpy.save or numpy.savez"
        ) from error


def _bound(size: int) -> None:
    if size > MAX_SAMPLE_BYTES:
        raise ValueError(f"it unpacks to {size} bytes, more than the {MAX_SAMPLE_BYTES} allowed a sample")


def _key(filename: str) -> str:
    if not filename.endswith(".npy"):
        raise ValueError(f"it contains '{filename}', expected .npy entries only")
    return filename.removesuffix(".npy")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    with archive.open(entry) as stream:
        header = _Header.read(stream, entry.file_size)
        data = stream.read(header.size * header.dtype.itemsize)
        stream.read(1)  # the checksum is compared at the end of the entry only
    return np.ndarray(header.shape, header.dtype, data, order=header.order)
