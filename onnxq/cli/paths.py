"""Files that a command reads and writes: looked at before the long work begins."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from onnxq.errors import UsageError

__all__ = ["check_destination", "disk_size", "write_json"]


def check_destination(path: Path, *sources: Path) -> None:
    """Whether a file can be written at ``path``, which is none of ``sources``.

    Raises:
        UsageError: it cannot; says why.
    """
    if any(path.resolve() == source.resolve() for source in sources):
        raise UsageError(f"'{path}' is the input itself: give the output another name")
    if path.is_dir():
        raise UsageError(f"cannot write '{path}': it is a folder; add a file name")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write '{path}': the folder '{path.parent}' does not exist; make it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return
    except OSError as error:
        raise UsageError(f"cannot write '{path}': {error.strerror} in '{path.parent}'") from error


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a report; the file appears whole or not at all.

    Raises:
        UsageError: it cannot be written there.
    """
    from onnxq.files import write_atomically

    write_atomically(path, f"{json.dumps(content, indent=1, allow_nan=False)}\n".encode())


def disk_size(model: Path) -> int:
    """Bytes of a readable model file and of the files with its external data."""
    import onnx_ir as ir

    from onnxq.tensors import tensor_slots

    others = {slot.location for slot in tensor_slots(ir.load(model)) if slot.location}
    return sum(file.stat().st_size for file in (model, *(model.parent / name for name in others)))
