"""Files: whether they can be written, replacing several as one, mapping a neighbour within its folder.

Whatever goes wrong while writing (a full disk, an exception, Ctrl-C), the old files stay as they were and
no half-written one is left behind.
"""

import contextlib
import mmap
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from onnxq.errors import OnnxqError, UsageError

__all__ = ["check_file", "check_folder", "contained", "map_bytes", "replacing", "write_atomically"]


def check_file(path: Path) -> None:
    """Whether a file can be written at ``path``: asked before long work, so that none is done in vain.

    Raises:
        UsageError: it cannot; says why.
    """
    if path.is_dir():
        raise UsageError(f"cannot write '{path}': it is a folder; add a file name")
    _check_destination(path)
    _try(path.parent, f"cannot write '{path}'")


def check_folder(path: Path) -> None:
    """Whether ``path`` is a folder that can be written into, or one that can be made; nothing is made.

    Raises:
        UsageError: it cannot; says why.
    """
    there = _nearest(path)
    if not there.is_dir():
        raise UsageError(f"cannot make the folder '{path}': '{there}' is a file")
    _try(there, f"cannot write into the folder '{path}'")


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, or leave everything as it was.

    Raises:
        UsageError: the file cannot be written there.
    """
    with replacing(path) as (file,):
        file.write(content)


@contextlib.contextmanager
def replacing(*paths: Path) -> Iterator[tuple[BinaryIO, ...]]:
    """New files to write into, which take the places of ``paths``, in this order, when the block ends well.

    They are written beside their destination, flushed to the disk, then renamed. Memory maps of the old
    files stay valid.

    Raises:
        UsageError: a folder is missing or not writable, the disk is full, or a path is no regular file.
    """
    for path in paths:
        _check_destination(path)
    temporary = [path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp") for path in paths]
    try:
        with contextlib.ExitStack() as stack:
            files = tuple(stack.enter_context(open(path, "xb")) for path in temporary)
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for source, path in zip(temporary, paths, strict=True):
            os.replace(source, path)
        _sync_folder(paths[0].parent)
    except OSError as error:
        names = " and ".join(f"'{path}'" for path in paths)
        raise UsageError(f"cannot write {names}: {error.strerror or error}; nothing was changed") from error
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


def contained(folder: Path, location: str) -> Path:
    """The regular file that a relative ``location`` names inside ``folder``, all links resolved.

    Raises:
        OnnxqError: it is absolute, climbs with ``..``, or is reached through a link that leaves the folder;
            or there is no such file.
    """
    kinds = (PurePosixPath(location), PureWindowsPath(location))
    if any(kind.is_absolute() or kind.drive or ".." in kind.parts for kind in kinds) or "\0" in location:
        raise OnnxqError(f"'{location}' is not a path inside the folder of the model")
    home = folder.resolve()
    path = (home / location).resolve()
    if not path.is_relative_to(home):
        raise OnnxqError(f"'{location}' is a link that leaves the folder of the model")
    if not path.is_file():
        raise OnnxqError(f"there is no file '{folder / location}'")
    return path


def map_bytes(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, read-only, brought into memory by the system as they are touched."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _check_destination(path: Path) -> None:
    if not path.parent.is_dir():
        there = _nearest(path.parent)
        if not there.is_dir():
            raise UsageError(f"cannot write '{path}': '{there}' is a file, not a folder")
        raise UsageError(f"cannot write '{path}': the folder '{path.parent}' does not exist; make it first")
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write '{path}': it exists and is no regular file; choose another name")


def _nearest(path: Path) -> Path:
    """The path itself, or the first folder above it that exists."""
    return next((place for place in (path, *path.parents) if place.exists()), path)


def _try(folder: Path, what: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise UsageError(f"{what}: {error.strerror} in '{folder}'") from error


def _sync_folder(folder: Path) -> None:
    """Make the renames durable, where folders can be opened (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
