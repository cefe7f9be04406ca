"""The folder of evaluation models that the benchmarks measure on.

A folder is one with a ``zoo.py`` whose ``load(name)`` gives an :class:`Entry` and ``names()`` all names.
"""

import argparse
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from onnxq.graph.numeric import Array

__all__ = ["DEFAULT_ZOO", "Entry", "Feeds", "add_zoo_option", "load_zoo"]

DEFAULT_ZOO = Path(__file__).resolve().parents[2] / "shared" / "zoo"

Feeds = Mapping[str, Array]


class Entry(Protocol):
    """One evaluation model: its file, its samples and its task."""

    @property
    def name(self) -> str: ...

    @property
    def float_model(self) -> Path: ...

    def calibration(self, n: int, seed: int = 0) -> Iterator[Feeds]: ...

    def evaluate(
        self, model_path: Path, *, threads: int = 2, limit: int | None = None, optimize: bool = True
    ) -> dict[str, Any]: ...


def load_zoo(folder: Path) -> ModuleType:
    """The module ``zoo`` of a folder of evaluation models."""
    spec = importlib.util.spec_from_file_location("zoo", folder / "zoo.py")
    if spec is None or spec.loader is None or not (folder / "zoo.py").is_file():
        raise SystemExit(f"no evaluation models: {folder / 'zoo.py'} does not exist; give --zoo FOLDER")
    module = sys.modules["zoo"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def add_zoo_option(parser: argparse.ArgumentParser) -> None:
    """The option ``--zoo``."""
    parser.add_argument("--zoo", type=Path, default=DEFAULT_ZOO, help="folder of evaluation models")
