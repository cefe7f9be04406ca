"""The words of a pipeline text, and errors that point at the place.

Blanks, newlines and ``# comments`` may stand between words. A value is ``bare`` or ``'quoted'`` (a backslash
before a quote or backslash inside); several are joined by ``|``, and none at all is written ``()``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from onnxq.errors import UsageError
from onnxq.pipeline.options import BARE, Word

__all__ = ["NAME", "Scanner"]

NAME = re.compile(r"[A-Za-z_][\w.-]*")
_BLANKS = re.compile(r"(?:\s|#[^\n]*)*")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_WINDOW = 60
"""How much of a long line is shown on either side of an error."""

T = TypeVar("T")


@dataclass
class Scanner:
    """Reads ``text`` from left to right; ``at`` is where it stands."""

    text: str
    origin: str = field(default="", kw_only=True)
    """Where the text comes from, such as ``preset 'prepare'``; empty for what the user typed."""
    at: int = field(default=0, init=False)

    def braces(self, option: Callable[[str, int], None]) -> None:
        """``{key=value key=value}``, or nothing; ``option`` reads each value."""
        seen: set[str] = set()
        if not self.accept("{"):
            return
        while not self.accept("}"):
            start = self.at
            key = self.match(NAME, "expected an option, or '}'")
            if key in seen:
                self.fail(f"option '{key}' is given twice", start)
            seen.add(key)
            self.expect("=", f"expected '=' after the option '{key}'")
            option(key, start)
            self.accept(",")

    def words(self) -> list[Word]:
        """The words of ``a|'b c'``."""
        if self.accept("()"):
            return []
        words: list[Word] = []
        while not words or self.accept("|"):
            self.blanks()
            if self.text.startswith("'", self.at):
                words.append(Word(self.quoted(), quoted=True))
            else:
                words.append(Word(self.match(BARE, "expected a value")))
        return words

    def quoted(self) -> str:
        """The text between quotes, where a backslash keeps the next character."""
        text = self.match(_QUOTED, "expected a closing quote (')")
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)

    def blanks(self) -> None:
        """Pass over blanks and comments."""
        if found := _BLANKS.match(self.text, self.at):
            self.at = found.end()

    def accept(self, symbol: str) -> bool:
        """Pass over a symbol and the blanks around it, if it is here."""
        self.blanks()
        if not self.text.startswith(symbol, self.at):
            return False
        self.at += len(symbol)
        self.blanks()
        return True

    def expect(self, symbol: str, complaint: str) -> None:
        """Pass over a symbol that has to be here."""
        if not self.accept(symbol):
            self.fail(complaint)

    def match(self, pattern: re.Pattern[str], complaint: str) -> str:
        """Pass over what has to be here; returns it."""
        found = pattern.match(self.text, self.at)
        if found is None:
            self.fail(complaint)
        self.at = found.end()
        return found[0]

    def guard(self, make: Callable[[], T], place: int) -> T:
        """What ``make`` returns; what it complains of is shown at ``place``."""
        try:
            return make()
        except (UsageError, ValueError) as error:
            self.fail(str(error), place)

    def fail(self, complaint: str, place: int | None = None, advice: str = "") -> NoReturn:
        """Raise a UsageError that shows the line and a caret under the place (default: where we stand)."""
        place = self.at if place is None else place
        start = self.text.rfind("\n", 0, place) + 1
        line, column = self.text[start:].split("\n", 1)[0], place - start
        word = re.compile(r"[^\s,{}()|=]*").match(line, column)
        length = max(1, len(word[0]) if word else 1)
        if column > _WINDOW:
            line, column = "…" + line[column - _WINDOW + 1 :], _WINDOW
        line = line if len(line) <= 2 * _WINDOW else line[: 2 * _WINDOW - 1] + "…"
        pointer = " " * column + "^" + "~" * (min(length, len(line) - column) - 1)
        lines = [complaint, f"    {line}", f"    {pointer}"]
        if self.origin:
            lines.append(f"  in {self.origin}, line {self.text.count(chr(10), 0, place) + 1}")
        raise UsageError("\n".join([*lines, *([advice] if advice else [])]))
