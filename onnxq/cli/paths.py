"""Files that a command reads and writes: looked at before the long work begins."""

import json
from collections.abc import Mapping
from pathlib import Path

from onnxq.errors import UsageError

__all__ = ["check_destination", "check_distinct", "disk_size", "recipe_file", "write_json"]


def check_destination(path: Path, *sources: Path) -> None:
    """Whether a file can be written at ``path``, which is none of ``sources``.

    Raises:
        UsageError: it cannot; says why.
    """
    from onnxq.files import check_file

    if any(path.resolve() == source.resolve() for source in sources):
        raise UsageError(f"'{path}' is the input itself: give the output another name")
    check_file(path)


def check_distinct(**destinations: Path | None) -> None:
    """Whether files that a command writes are several; each is given by the name of its option.

    Raises:
        UsageError: two options name one file.
    """
    seen: dict[Path, str] = {}
    for option, path in destinations.items():
        if path is not None and (other := seen.setdefault(path.resolve(), option)) != option:
            raise UsageError(f"--{option} and --{other} are one file, '{path}': rename one of them")


def recipe_file(path: Path | None) -> Path | None:
    """The recipe of a command line, after a look whether it can be read.

    Raises:
        UsageError: there is no such file, or it is no recipe.
    """
    from onnxq.quant.recipe import load_recipe

    if path is not None and path.suffix != ".toml":
        raise UsageError(f"--recipe takes a TOML file, whose name ends in .toml, not '{path}'")
    if path is not None:
        load_recipe(str(path))
    return path


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
