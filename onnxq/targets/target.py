"""Targets: what a backend accepts, as data. One TOML file a target, next to this module.

    name = "generic-int8"
    summary = "one line for the table of targets"
    form = "qdq"                  # what it reads: Q/DQ or strict integers ("integer")
    opset = 19                    # of the Q/DQ model that is written
    ir_version = 9

    [activation]                  # every value that is computed at run time
    dtype = "uint8"
    symmetric = false
    power_of_two = false

    [weight]
    dtype = "int8"                # zero point 0, codes −127 … 127
    per_channel = ["Conv", …]     # operators whose weights have one scale per output channel
    power_of_two = false

    [operators]
    compute = ["Conv", …]         # inputs and outputs each have a scale of their own
    move = ["MaxPool", …]         # codes pass through unchanged: inputs and output share one scale
    fuse_activation = ["Conv", …] # a Relu or Clip behind these only narrows their output's range

    [fixed_range]                 # functions whose output range needs no measuring
    Softmax = [0.0, 0.99609375]

    [layout]
    float_tail = true             # layout operators in front of an output stay float

A user's own file is given by path wherever a name is.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from onnxq.errors import TargetError, UsageError
from onnxq.quant.formats import IntFormat

__all__ = ["Target", "load_target", "target_names"]


@dataclass(frozen=True)
class Target:
    """What a backend accepts; see the module for the meaning of each field."""

    name: str
    summary: str
    form: str
    opset: int
    ir_version: int
    activation: IntFormat
    weight: IntFormat
    compute: frozenset[str]
    move: frozenset[str]
    per_channel: frozenset[str]
    fuse_activation: frozenset[str]
    fixed_range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    symmetric: bool = False
    activation_power_of_two: bool = False
    weight_power_of_two: bool = False
    float_tail: bool = False


_FORMS = ("qdq", "integer")

_SCHEMA: Mapping[str, Mapping[str, type]] = {
    "": {"name": str, "summary": str, "form": str, "opset": int, "ir_version": int},
    "activation": {"dtype": str, "symmetric": bool, "power_of_two": bool},
    "weight": {"dtype": str, "per_channel": list, "power_of_two": bool},
    "operators": {"compute": list, "move": list, "fuse_activation": list},
    "layout": {"float_tail": bool},
}


def target_names() -> list[str]:
    """The targets that ship with onnxq, sorted."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml")
    )


@cache
def load_target(name: str) -> Target:
    """The target of that name, or in the TOML file at that path.

    Raises:
        TargetError: there is no such target, or the file is wrong; says what is allowed.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise TargetError(f"target file '{name}' does not exist")
        return parse_target(path.read_text(encoding="utf-8"), name)
    if name not in target_names():
        near = get_close_matches(name, target_names(), 1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        raise TargetError(
            f"no target '{name}'{hint} Known: {', '.join(target_names())}, or a path to a .toml file"
        )
    return parse_target((_folder() / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml")


def parse_target(text: str, source: str) -> Target:
    """Read a target from TOML text; ``source`` names it in messages.

    Raises:
        TargetError: not TOML, an unknown or missing key, or a value of the wrong type.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TargetError(f"target {source} is not valid TOML: {error}") from error
    tables = {name: _table(raw, name, source) for name in _SCHEMA}
    operators, weight, activation = tables["operators"], tables["weight"], tables["activation"]
    try:
        formats = IntFormat.parse(activation["dtype"]), IntFormat.parse(weight["dtype"])
    except UsageError as error:
        raise TargetError(f"target {source}: {error}") from error
    if (form := tables[""]["form"]) not in _FORMS:
        raise TargetError(f"target {source}: form is '{form}', expected {' or '.join(_FORMS)}")
    return Target(
        **tables[""],
        activation=formats[0],
        weight=IntFormat(formats[1].bits, formats[1].signed, narrow=formats[1].signed),
        compute=frozenset(operators["compute"]),
        move=frozenset(operators["move"]),
        fuse_activation=frozenset(operators["fuse_activation"]),
        per_channel=frozenset(weight["per_channel"]),
        fixed_range=_ranges(raw.get("fixed_range", {}), source),
        symmetric=activation["symmetric"],
        activation_power_of_two=activation["power_of_two"],
        weight_power_of_two=weight["power_of_two"],
        **tables["layout"],
    )


def _table(raw: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
    """One table of the file, every key of the schema present and of its type, and no other."""
    schema = _SCHEMA[name]
    table = raw.get(name) if name else {k: v for k, v in raw.items() if not isinstance(v, dict)}
    where = f"target {source}, table [{name}]" if name else f"target {source}"
    if not isinstance(table, dict):
        raise TargetError(f"{where} is missing; it holds {', '.join(schema)}")
    tables = "" if name else f"; tables: {', '.join(n for n in (*_SCHEMA, 'fixed_range') if n)}"
    if unknown := sorted(set(table) - set(schema)):
        raise TargetError(f"{where}: unknown key '{unknown[0]}'; allowed: {', '.join(schema)}{tables}")
    if not name and (unknown := sorted(set(raw) - set(schema) - set(_SCHEMA) - {"fixed_range"})):
        raise TargetError(f"{where}: unknown table [{unknown[0]}]{tables}")
    for key, kind in schema.items():
        if not isinstance(table.get(key), kind) or isinstance(table.get(key), bool) != (kind is bool):
            raise TargetError(f"{where}: '{key}' must be a {kind.__name__}, found {table.get(key)!r}")
    return table


def _ranges(raw: object, source: str) -> dict[str, tuple[float, float]]:
    if not isinstance(raw, dict):
        raise TargetError(f"target {source}: [fixed_range] must be a table of operator = [low, high]")
    for op, pair in raw.items():
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(v, int | float) for v in pair)):
            raise TargetError(f"target {source}, [fixed_range]: {op} must be [low, high], found {pair!r}")
    return {op: (float(low), float(high)) for op, (low, high) in raw.items()}


def _folder() -> Traversable:
    return files("onnxq.targets")
