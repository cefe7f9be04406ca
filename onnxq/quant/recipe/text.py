"""Reading recipes from TOML."""

import re
from collections.abc import Mapping
from pathlib import Path

from onnxq.errors import UsageError
from onnxq.quant.formats import IntFormat
from onnxq.quant.recipe.rules import FLOAT, OF_VALUES, Recipe, Rule, Wish
from onnxq.targets.target import Range
from onnxq.toml_tables import Document, Kind, read_toml

__all__ = ["load_recipe", "parse_recipe"]

_SELECTORS: Mapping[str, Kind] = {"op": str, "node": str, "value": str}
_WISHES: Mapping[str, Kind] = {
    "dtype": str,
    "weight": str,
    "per_channel": bool,
    "symmetric": bool,
    "power_of_two": bool,
}
_KEYS = (*_SELECTORS, *_WISHES, "range")


def load_recipe(source: str) -> Recipe:
    """The recipe in the file at that path (it ends in ``.toml``), or the TOML text itself.

    Raises:
        UsageError: the file cannot be read, or the text is wrong; says where and what is allowed.
    """
    if "\n" in source or not source.endswith(".toml"):
        return parse_recipe(source, "recipe")
    try:
        text = Path(source).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"there is no recipe '{source}'") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read recipe '{source}': {getattr(error, 'strerror', error)}") from error
    return parse_recipe(text, f"recipe {source}")


def parse_recipe(text: str, title: str = "recipe") -> Recipe:
    """Read a recipe from TOML text; ``title`` names it in messages.

    Raises:
        UsageError: not TOML, an unknown key, a value of the wrong type, or a pattern that is none.
    """
    doc = read_toml(text, title, UsageError)
    doc.check_keys(doc.tables, ["rule"], "")
    rules = doc.tables.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise doc.wrong(": rules are written as [[rule]] tables", "rule")
    return Recipe(tuple(_rule(doc, i, rule) for i, rule in enumerate(rules, 1)))


def _rule(doc: Document, number: int, table: Mapping[str, object]) -> Rule:
    where, header = f", rule {number}", ["rule"] * number
    doc.check_keys(table, _KEYS, where, *header)
    for key in table:
        if key != "range":
            doc.value(table, key, {**_SELECTORS, **_WISHES}[key], where, *header)
    chosen = {key: str(table[key]) for key in _SELECTORS if key in table}
    if not chosen or ("value" in chosen and len(chosen) > 1):
        raise doc.wrong(
            f"{where}: give op, node or both, or value alone; found {', '.join(chosen) or 'none'}", *header
        )
    said = [key for key in table if key not in _SELECTORS]
    if not said:
        raise doc.wrong(f"{where}: says nothing; give one of {', '.join((*_WISHES, 'range'))}", *header)
    if "value" in chosen and (wrong := [key for key in said if key not in OF_VALUES]):
        raise doc.wrong(
            f"{where}: '{wrong[0]}' is of a node's weights; select it by op or node", *header, wrong[0]
        )
    for key in ("node", "value"):
        _check_pattern(doc, where, key, chosen.get(key), header)
    for key in ("dtype", "weight"):
        _check_dtype(doc, where, key, table.get(key), header)
    values = {key: table[key] for key in _WISHES if key in table}
    wish = Wish(**values, range=_range(doc, where, table.get("range"), header))  # type: ignore[arg-type]
    return Rule(wish, **chosen, where=f"{doc.title}{where}")


def _check_pattern(doc: Document, where: str, key: str, pattern: str | None, header: list[str]) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise doc.wrong(
            f"{where}: {key} = '{pattern}' is no regular expression: {error}", *header, key
        ) from error


def _check_dtype(doc: Document, where: str, key: str, text: object, header: list[str]) -> None:
    if text is None or (key == "dtype" and text == FLOAT):
        return
    try:
        IntFormat.parse(str(text))
    except UsageError as error:
        floats = " or float" if key == "dtype" else ""
        raise doc.wrong(f"{where}: {error}{floats}", *header, key) from error


def _range(doc: Document, where: str, pair: object, header: list[str]) -> Range | None:
    if pair is None:
        return None
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(v) in (int, float) for v in pair):
        raise doc.wrong(f"{where}: range must be [low, high], found {pair!r}", *header, "range")
    if not -3e38 < pair[0] < pair[1] < 3e38:
        raise doc.wrong(f"{where}: range must have low < high, both finite, found {pair!r}", *header, "range")
    return float(pair[0]), float(pair[1])
