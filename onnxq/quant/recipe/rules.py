"""Recipes as data: rules, and what they wish."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from onnxq.quant.formats import IntFormat
from onnxq.targets.target import Range

__all__ = ["FLOAT", "NOTHING", "OF_VALUES", "Recipe", "Rule", "Wish"]

FLOAT = "float"
"""The dtype of what shall stay as it is."""

OF_VALUES = ("dtype", "symmetric", "power_of_two", "range")
"""What may be wished of values; the rest is of a node's weights."""


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
        said = {key: value for key, value in self.said().items() if value is not None}
        return replace(earlier, **said)  # type: ignore[arg-type]

    def said(self) -> dict[str, object]:
        """All entries by name, those left to the target too."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

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
    entries = {"op": rule.op, "node": rule.node, "value": rule.value, **rule.wish.said()}
    for key, entry in entries.items():
        if entry is not None:
            yield f"{key} = {_written(entry)}"


def _written(entry: object) -> str:
    """A text, number, truth value or list as TOML has it: JSON but for DEL, a control character."""
    return json.dumps(entry, ensure_ascii=False).replace("\x7f", "\\u007F")
