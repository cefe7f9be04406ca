"""Passes as a table, and one of them in full."""

import inspect
from collections.abc import Mapping

from onnxq.pipeline.base import Pass
from onnxq.pipeline.options import options
from onnxq.report.table import Table

__all__ = ["describe", "table"]


def table(passes: Mapping[str, type[Pass]]) -> Table:
    """Name, contract and first line of every pass."""
    rows = [(name, str(cls.contract), _lines(cls)[0]) for name, cls in passes.items()]
    return Table("", ["pass", "contract", "summary"], rows)


def describe(cls: type[Pass]) -> str:
    """Name, contract, the whole docstring, and every option with its type and default."""
    title = f"{cls.name} (contract: {cls.contract})"
    known = [f"  {option}" for option in options(cls).values()]
    return "\n".join([title, "", *_lines(cls), "", *(["options:", *known] if known else ["no options"])])


def _lines(cls: type[Pass]) -> list[str]:
    return (inspect.getdoc(cls) or "").splitlines() or [""]
