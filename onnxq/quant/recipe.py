"""Recipes: what a user wants otherwise than the target would have it, as data. Later rules win.

    [[rule]]                  # keep every Softmax in float
    op = "Softmax"
    dtype = "float"

    [[rule]]                  # what the nodes of the head make gets 16 bits
    node = "head/.*"
    dtype = "int16"
    symmetric = true

    [[rule]]                  # a range that is known better than the samples tell
    value = "logits"
    range = [-8.0, 8.0]

Which nodes and values a rule is for:

    op     an operator type                 node   a pattern for the node's name or that of its first output
    value  a pattern for the value's name   (op and node may stand together; value stands alone)

What it says: ``dtype`` (``float``, or a dtype that the target takes), ``symmetric``, ``power_of_two`` and
``range`` of the values that the nodes make, or of the named values; ``weight`` (a dtype) and ``per_channel``
of the weights that the nodes read. A node with ``dtype = "float"`` stays float; so does a node that makes or
reads a value with ``dtype = "float"``. Values that share one scale share the widest dtype asked for.
Patterns are regular expressions for the whole name. A rule that is for nothing in the model is an error.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path

import onnx_ir as ir

from onnxq.errors import UsageError
from onnxq.graph.match import is_op
from onnxq.quant.formats import IntFormat
from onnxq.targets.target import Range, Target
from onnxq.toml_tables import Document, Kind, read_toml

__all__ = ["FLOAT", "NOTHING", "Choices", "Recipe", "Rule", "Wish", "load_recipe", "parse_recipe"]

FLOAT = "float"


@dataclass(frozen=True)
class Wish:
    """What a recipe says of one node or value; None leaves it to the target."""

    dtype: str | None = None
    weight: str | None = None
    per_channel: bool | None = None
    symmetric: bool | None = None
    power_of_two: bool | None = None
    range: Range | None = None

    def over(self, earlier: "Wish") -> "Wish":
        """This wish, and the earlier one where this one says nothing."""
        said = {key: value for key, value in _said(self).items() if value is not None}
        return replace(earlier, **said)  # type: ignore[arg-type]

    @property
    def is_float(self) -> bool:
        return self.dtype == FLOAT

    @property
    def format(self) -> IntFormat | None:
        """The integer format asked for."""
        return None if self.dtype in (None, FLOAT) else IntFormat.parse(str(self.dtype))


NOTHING = Wish()


@dataclass(frozen=True)
class Rule:
    """One rule: a selection and a wish. ``where`` says in messages where it stands."""

    wish: Wish
    op: str | None = None
    node: str | None = None
    value: str | None = None
    where: str = "a rule"

    def __str__(self) -> str:
        chosen = {"op": self.op, "node": self.node, "value": self.value}
        return ", ".join(f"{key} = '{text}'" for key, text in chosen.items() if text is not None)


@dataclass(frozen=True)
class Recipe:
    """Rules in order; the later win."""

    rules: Sequence[Rule] = ()

    def toml(self) -> str:
        """The text that :func:`parse_recipe` reads as this recipe."""
        return "\n".join(line for rule in self.rules for line in ("[[rule]]", *_lines(rule)))


def _lines(rule: Rule) -> Iterator[str]:
    entries = {"op": rule.op, "node": rule.node, "value": rule.value, **_said(rule.wish)}
    for key, entry in entries.items():
        if entry is not None:
            yield f"{key} = {json.dumps(entry, ensure_ascii=False)}"


_SELECTORS: Mapping[str, Kind] = {"op": str, "node": str, "value": str}
_WISHES: Mapping[str, Kind] = {
    "dtype": str,
    "weight": str,
    "per_channel": bool,
    "symmetric": bool,
    "power_of_two": bool,
}
_OF_VALUES = ("dtype", "symmetric", "power_of_two", "range")
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
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read recipe '{source}': {error}") from error
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
    if "value" in chosen and (wrong := [key for key in said if key not in _OF_VALUES]):
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


class Choices:
    """What a recipe says of each node and value of one model.

    Raises:
        UsageError: a rule is for nothing in the model, or asks for a dtype that the target does not take.
    """

    def __init__(self, recipe: Recipe, nodes: Iterable[ir.Node], target: Target) -> None:
        self._nodes: dict[ir.Node, Wish] = {}
        self._values: dict[ir.Value, Wish] = {}
        if not recipe.rules:
            return
        known = [node for node in nodes if not is_op(node, "Constant")]
        values = {
            v.name: v for node in known for v in (*node.inputs, *node.outputs) if v is not None and v.name
        }
        for rule in recipe.rules:
            _check_target(rule, target)
            if rule.value is not None:
                self._choose_values(rule, {name or "": value for name, value in values.items()})
            else:
                self._choose_nodes(rule, known)

    @property
    def chosen(self) -> bool:
        """Whether anything at all is said."""
        return bool(self._nodes or self._values)

    def of_node(self, node: ir.Node) -> Wish:
        """What is said of a node, float or not, and of its weights."""
        return self._nodes.get(node, NOTHING)

    def of_value(self, value: ir.Value) -> Wish:
        """What is said of a value, by its name or through the node that makes it."""
        return self._values.get(value, NOTHING)

    def _choose_values(self, rule: Rule, values: Mapping[str, ir.Value]) -> None:
        pattern = re.compile(rule.value or "")
        found = [value for name, value in values.items() if pattern.fullmatch(name)]
        _check_found(rule, found, rule.value or "", values)
        for value in found:
            self._values[value] = rule.wish.over(self.of_value(value))

    def _choose_nodes(self, rule: Rule, nodes: Sequence[ir.Node]) -> None:
        pattern = re.compile(rule.node or ".*", re.DOTALL)
        found = [
            node
            for node in nodes
            if rule.op in (None, node.op_type) and any(pattern.fullmatch(name) for name in _names(node))
        ]
        wanted = rule.node or rule.op or ""
        names = (
            [name for node in nodes for name in _names(node)]
            if rule.node
            else [node.op_type for node in nodes]
        )
        _check_found(rule, found, wanted, names)
        made = Wish(**{k: v for k, v in _said(rule.wish).items() if k in _OF_VALUES})  # type: ignore[arg-type]
        for node in found:
            self._nodes[node] = rule.wish.over(self.of_node(node))
            for output in node.outputs if not made.is_float else ():
                self._values[output] = made.over(self.of_value(output))


def _names(node: ir.Node) -> list[str]:
    first = next((output.name for output in node.outputs if output.name), "")
    return [name for name in (node.name, first) if name] or [""]


def _said(wish: Wish) -> dict[str, object]:
    return {field.name: getattr(wish, field.name) for field in fields(wish)}


def _check_target(rule: Rule, target: Target) -> None:
    fmt = rule.wish.format
    if fmt is not None and fmt not in target.activations:
        allowed = ", ".join(map(str, target.activations))
        raise UsageError(f"{rule.where}: target {target.name} takes {allowed} or float, not {fmt}")


def _check_found(rule: Rule, found: Sequence[object], wanted: str, names: Iterable[str]) -> None:
    if found:
        return
    known = list(dict.fromkeys(names))
    near = get_close_matches(wanted.replace(".*", ""), known, 3, 0.4) or known[:3]
    raise UsageError(f"{rule.where} ({rule}) is for nothing in the model; near: {', '.join(near)}")
