"""Options of a pass ↔ text, by the annotations of its dataclass fields.

| annotation          | text                                  |
|---------------------|---------------------------------------|
| ``bool``            | ``true`` ``false``                    |
| ``int``, ``float``  | ``8``  ``0.5``  ``1e-4``  ``inf``     |
| ``str``             | ``abc``, or ``'a, b'``                |
| ``StrEnum``         | the value of a member                 |
| ``Literal[…]``      | one of the literals                   |
| ``tuple[T, ...]``   | ``a|b|c``; ``()`` for none at all     |
| ``X | Y``           | the first that fits, texts last       |
| ``X | None``        | ``none``                              |

A quoted word is always a text: ``'none'`` and ``'8'`` are strings where strings are allowed.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from onnxq.errors import UsageError
from onnxq.pipeline.base import Pass

__all__ = ["BARE", "Option", "Word", "options", "quote"]

BARE = re.compile(r"[^\s,|{}()='#\\]+")
"""What may be written without quotes."""


@dataclass(frozen=True)
class Word:
    """One part of a value, between ``|``."""

    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Option:
    """One option of a pass: its name, type and default."""

    name: str
    kind: object
    default: object

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    def __str__(self) -> str:
        default = "required" if self.required else f"default {self.print(self.default)}"
        return f"{self.name}: {_kind_text(self.kind)} ({default})"

    def read(self, words: Sequence[Word]) -> object:
        """The value that ``words`` say.

        Raises:
            UsageError: they do not fit the type; says what was expected.
        """
        try:
            return _read(self.kind, tuple(words))
        except ValueError as error:
            found = "|".join(quote(word.text) if word.quoted else word.text for word in words)
            raise UsageError(
                f"option '{self.name}' takes {_kind_text(self.kind)}, not {found or '()'}"
            ) from error

    def print(self, value: object) -> str:
        """The text that ``read`` turns back into ``value``."""
        if value == ():
            return "()"
        parts = value if isinstance(value, tuple) else (value,)
        plain = [_plain(part) for part in parts]
        if all(BARE.fullmatch(text) for text in plain) and _reads_as(self.kind, plain, value):
            return "|".join(plain)
        return "|".join(
            quote(text) if isinstance(part, str) else text for text, part in zip(plain, parts, strict=True)
        )


def options(cls: type[Pass]) -> Mapping[str, Option]:
    """The options of a pass class, in the order of its fields."""
    kinds = typing.get_type_hints(cls)
    return {f.name: Option(f.name, kinds[f.name], _default(f)) for f in dataclasses.fields(cls) if f.init}


def quote(text: str) -> str:
    """``text`` between quotes, as the parser of pipelines reads it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _default(field: "dataclasses.Field[object]") -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _read(kind: object, words: tuple[Word, ...]) -> object:
    for member in _members(kind):
        try:
            return _read_member(member, words)
        except ValueError:
            continue
    raise ValueError(f"not {_kind_text(kind)}")


def _read_member(kind: object, words: tuple[Word, ...]) -> object:
    if (item := _item(kind)) is not None:
        return tuple(_read(item, (word,)) for word in words)
    if len(words) != 1:
        raise ValueError("one word expected")
    return _read_word(kind, words[0])


def _read_word(kind: object, word: Word) -> object:
    if kind is str:
        return word.text
    if typing.get_origin(kind) is typing.Literal:
        return _choose(word, {v if isinstance(v, str) else str(v).lower(): v for v in typing.get_args(kind)})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choose(word, {str(member.value): member for member in kind})
    if word.quoted:
        raise ValueError("a quoted word is a text")
    if kind is type(None):
        return _choose(word, {"none": None})
    if kind is bool:
        return _choose(word, {"true": True, "false": False})
    if kind is int:
        return int(word.text)
    number = float(word.text)
    if number != number:
        raise ValueError("NaN is no option")
    return number


def _choose(word: Word, choices: Mapping[str, object]) -> object:
    if word.text not in choices or (word.quoted and not isinstance(choices[word.text], str)):
        raise ValueError(f"not one of {', '.join(choices)}")
    return choices[word.text]


def _plain(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else repr(float(value) if isinstance(value, float) else value)


def _reads_as(kind: object, texts: Sequence[str], value: object) -> bool:
    """Whether the unquoted words mean ``value`` and not, say, the number 8 for the text '8'."""
    try:
        found = _read(kind, tuple(Word(text) for text in texts))
    except ValueError:
        return False
    return repr(found) == repr(value)


def _members(kind: object) -> list[object]:
    """The alternatives of a union, the narrow ones first: ``int | str`` reads ``8`` as a number."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return sorted(typing.get_args(kind), key=_width)
    return [kind]


def _width(kind: object) -> int:
    order: list[object] = [type(None), bool, int, float, str]
    if _item(kind) is not None:
        return len(order) + 1
    return order.index(kind) + 1 if kind in order else 0


def _item(kind: object) -> object | None:
    """``T`` of ``tuple[T, ...]``, else None."""
    arguments = typing.get_args(kind)
    return arguments[0] if typing.get_origin(kind) is tuple and arguments[1:] == (Ellipsis,) else None


def _kind_text(kind: object) -> str:
    return ", ".join(_kind_texts(kind))


def _kind_texts(kind: object) -> Iterator[str]:
    names: dict[object, str] = {type(None): "none", bool: "true|false", int: "a whole number"}
    names |= {float: "a number", str: "a text"}
    for member in _members(kind):
        if (item := _item(member)) is not None:
            yield f"a list x|y|… of ({_kind_text(item)})"
        elif typing.get_origin(member) is typing.Literal:
            yield from (str(v) for v in typing.get_args(member))
        elif isinstance(member, type) and issubclass(member, Enum):
            yield from (str(choice.value) for choice in member)
        elif member in names:
            yield names[member]
        else:
            raise TypeError(
                f"an option of a pass cannot have the type {member}; onnxq.pipeline.options lists the types"
            )
