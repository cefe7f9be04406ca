"""Tables as data, printed as plain text or, on a terminal, with rich.

The plain form is made for grep, cut and diff: one line a row whatever its length, columns apart by two
blanks, no colours, nothing that depends on the width of a window.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxq.errors import UsageError

if TYPE_CHECKING:
    import rich.table

__all__ = ["Table", "clean", "decibel", "parse_size", "percent", "size"]

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


@dataclass(frozen=True)
class Table:
    """Rows of texts under heads; a column whose head begins with ``>`` is aligned to the right."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Title, heads and rows, one line each; the title alone where there are no rows."""
        if not self.rows:
            return self.title
        heads = [head.removeprefix(">").upper() for head in self.heads]
        grid = [heads, *([_one_line(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        lines = ["  ".join(map(_pad, row, widths, self._right())).rstrip() for row in grid]
        return "\n".join([self.title, *lines] if self.title else lines)

    def rich(self) -> "rich.table.Table":
        """The same for a terminal: long cells fold, columns without content are left out."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=box.SIMPLE_HEAD, title=Text(self.title) if self.title else None)
        table.title_justify = "left"
        shown = [i for i in range(len(self.heads)) if any(row[i] not in ("", "-") for row in self.rows)]
        right = self._right()
        for i in shown:
            name = self.heads[i].removeprefix(">")
            table.add_column(name, justify="right" if right[i] else "left", overflow="fold", no_wrap=right[i])
        for row in self.rows:
            table.add_row(*(Text(_one_line(row[i])) for i in shown))
        return table

    def _right(self) -> list[bool]:
        return [head.startswith(">") for head in self.heads]


def clean(text: str) -> str:
    """Control characters as ``\\x1b``: names in a model are untrusted and must not steer the terminal."""
    return text.translate(_CONTROL)


def _one_line(text: str) -> str:
    """The same in one line."""
    return clean(text).replace("\n", "\\n").replace("\t", "\\t")


def decibel(value: float) -> str:
    """``38.21``; ``inf`` where nothing differs, ``nan`` where nothing was measured."""
    return f"{value:.2f}"


def percent(share: float) -> str:
    """``99.63 %``; 100 only where all agree."""
    text = f"{100 * share:.2f}"
    return f"{'>99.99' if text == '100.00' and share < 1 else text} %"


def size(count: float) -> str:
    """A number of bytes: ``731 B``, ``1.24 MB`` (a thousand is a kB)."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def parse_size(text: str) -> int:
    """The bytes that ``512M``, ``2G``, ``1.5GB`` or a plain number mean (a thousand is a k).

    Raises:
        UsageError: it is no such text, or not positive.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kMG]?)B?\s*", text)
    count = int(float(match[1]) * 1000 ** " kMG".index(match[2] or " ")) if match else 0
    if count <= 0:
        raise UsageError(f"'{text}' is no size; expected a number of bytes such as 512M or 2G")
    return count


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)
