"""All facts of a target, one line each, in the order of its declaration."""

from collections.abc import Iterator, Mapping
from dataclasses import fields

from onnxq.targets.target import Target

__all__ = ["facts"]


def facts(target: Target) -> Iterator[str]:
    """``name: value``; fields that a target may gain are printed too."""
    for field in fields(target):
        yield f"{field.name.replace('_', ' ')}: {_text(getattr(target, field.name))}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, value))) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, tuple):
        return " to ".join(map(str, value))
    return str(value)
