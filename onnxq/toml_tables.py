"""Reading small TOML files written by hand; a mistake is named with its line and what is allowed."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnxq.errors import OnnxqError
from onnxq.suggest import did_you_mean

__all__ = ["Document", "Kind", "read_toml"]

Kind = type | tuple[type, ...]


@dataclass(frozen=True)
class Document:
    """A TOML text with the name it has in messages and the error that mistakes in it raise."""

    title: str
    text: str
    tables: Mapping[str, object]
    error: type[OnnxqError]

    def wrong(self, message: str, *words: str) -> OnnxqError:
        """The error for a mistake; the line is where the last of ``words`` stands behind the others."""
        return self.error(f"{self.title}{self._line(words)}{message}")

    def check_keys(
        self, table: Mapping[str, object], allowed: Iterable[str], where: str, *words: str
    ) -> None:
        """Refuse keys that nobody reads.

        Raises:
            OnnxqError: names the first of them, the nearest key that is meant perhaps, and all there are.
        """
        known = list(allowed)
        for key in table:
            if key not in known:
                hint = did_you_mean(key, known)
                listed = f" allowed: {', '.join(known)}"
                raise self.wrong(f"{where}: unknown key '{key}'{hint or ';'}{listed}", *words, key)

    def value(self, table: Mapping[str, object], key: str, kind: Kind, where: str, *words: str) -> object:
        """One entry of a table, of the given type; a list holds texts.

        Raises:
            OnnxqError: it is of another type.
        """
        found = table.get(key)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        fits = isinstance(found, kinds) and isinstance(found, bool) == (bool in kinds)
        if not fits or (isinstance(found, list) and not all(isinstance(item, str) for item in found)):
            names = " or ".join(_NAMES.get(k, k.__name__) for k in kinds)
            raise self.wrong(f"{where}: '{key}' must be {names}, found {found!r}", *words, key)
        return found

    def _line(self, words: tuple[str, ...]) -> str:
        """``, line 7``, as far as a search finds it: TOML's reader keeps no positions."""
        line = 0
        lines = self.text.splitlines()
        for word in words:
            entry = re.compile(rf"\s*(\[+\s*{re.escape(word)}\s*\]|[\"']?{re.escape(word)}[\"']?\s*=)")
            line = next((i for i in range(line, len(lines)) if entry.match(lines[i])), -1)
            if line < 0:
                return ""
        return f", line {line + 1}" if words else ""


_NAMES = {
    list: "a list of texts",
    str: "a text",
    bool: "true or false",
    float: "a number",
    int: "a whole number",
}


def read_toml(text: str, title: str, error: type[OnnxqError]) -> Document:
    """Parse a text.

    Raises:
        OnnxqError: it is no TOML; says where.
    """
    try:
        return Document(title, text, tomllib.loads(text), error)
    except (tomllib.TOMLDecodeError, RecursionError) as problem:
        raise error(f"{title} is not valid TOML: {problem}") from problem
