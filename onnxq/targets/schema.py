"""The text of a target file → :class:`Target`: every key checked, ``extends`` followed.

A file that extends another states only what differs: a key replaces the inherited one. The lists of
``[operators]`` are the exception: an operator that the file names changes its kind, all others keep theirs.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from onnxq.errors import TargetError, UsageError
from onnxq.quant.formats import IntFormat
from onnxq.targets.consistency import check_consistency
from onnxq.targets.target import KINDS, Range, Target
from onnxq.toml_tables import Document, Kind, read_toml

__all__ = ["parse_target"]

Base = Callable[[str], Target]

_REQUIRED: Mapping[str, Mapping[str, Kind]] = {
    "": {"name": str, "summary": str, "form": str, "opset": int, "ir_version": int},
    "activation": {"dtype": str, "symmetric": bool, "power_of_two": bool},
    "weight": {"dtype": str, "per_channel": list, "power_of_two": bool},
    "operators": {"compute": list, "move": list, "fuse_activation": list},
    "layout": {"float_tail": bool},
}
_OPTIONAL: Mapping[str, Mapping[str, Kind]] = {
    "": {"extends": str},
    "activation": {"also": list, "recurrent_bits": int},
    "bias": {"dtype": str},
    "arithmetic": {"rounding": str},
    "operators": {
        "float": list,
        "neighbours": list,
        "float_output": list,
        "fuse_sum": list,
        "split": list,
        "fuse_mask": list,
    },
    "layout": {"static_shapes": bool, "wide_tail": bool},
    "runtime": {"engine": str, "slow": list, "saturates": bool},
}
_SECTIONS = tuple(dict.fromkeys([*_REQUIRED, *_OPTIONAL, "fixed_range", "facts"]))


def parse_target(text: str, source: str, base: Base | None = None) -> Target:
    """Read a target from TOML text; ``source`` names it in messages, ``base`` finds what it extends.

    Raises:
        TargetError: not TOML, an unknown or missing key, a value of the wrong type, or facts that exclude
            each other; says where and what is allowed.
    """
    doc = read_toml(text, f"target {source}", TargetError)
    _check_tables(doc)
    extends = doc.tables.get("extends")
    inherited = None
    if extends is not None:
        if base is None or not isinstance(extends, str) or extends == doc.tables.get("name"):
            raise doc.wrong(f": 'extends' must name another target, found {extends!r}", "extends")
        inherited = base(extends)
    tables = {name: _table(doc, name, complete=inherited is None or not name) for name in _SECTIONS}
    target = _made(doc, tables, inherited)
    check_consistency(doc, target)
    return target


def _check_tables(doc: Document) -> None:
    for name, table in doc.tables.items():
        if isinstance(table, dict) and name not in _SECTIONS:
            listed = ", ".join(f"[{section}]" for section in _SECTIONS if section)
            raise doc.wrong(f": unknown table [{name}]; tables: {listed}", name)
        if not isinstance(table, dict) and name in _SECTIONS:
            raise doc.wrong(f": [{name}] must be a table, found {table!r}", name)


def _table(doc: Document, name: str, *, complete: bool) -> dict[str, Any]:
    """One table of the file, its keys known and of their type."""
    required, optional = _REQUIRED.get(name, {}), _OPTIONAL.get(name, {})
    given: Any = (
        doc.tables.get(name) if name else {k: v for k, v in doc.tables.items() if not isinstance(v, dict)}
    )
    where = f", table [{name}]" if name else ""
    if given is None and complete and required:
        raise doc.wrong(f"{where} is missing; it holds {', '.join(required)}")
    table = dict(given or {})
    if name in ("fixed_range", "facts"):
        return table
    path = (name,) if name else ()
    doc.check_keys(table, [*required, *optional], where, *path)
    wanted = required if complete and not (name == "" and "extends" in table) else {}
    for key in dict.fromkeys([*(k for k in required if k in wanted), *table]):
        doc.value(table, key, {**required, **optional}[key], where, *path)
    if name == "" and "extends" in table:
        for key in ("name", "summary"):
            doc.value(table, key, str, where)
    return table


def _made(doc: Document, tables: Mapping[str, dict[str, Any]], inherited: Target | None) -> Target:
    """The target: inherited facts with the file's in their place."""
    head, act, weight = tables[""], tables["activation"], tables["weight"]
    ops, layout, runtime = tables["operators"], tables["layout"], tables["runtime"]
    changes: dict[str, Any] = {key: value for key, value in head.items() if key != "extends"}
    changes |= _kinds(doc, ops, inherited)
    changes |= {
        key: frozenset(ops[key])
        for key in ("fuse_activation", "neighbours", "float_output", "fuse_sum", "split", "fuse_mask")
        if key in ops
    }
    changes |= _formats(doc, act, weight)
    changes |= {key: act[key] for key in ("symmetric", "recurrent_bits") if key in act}
    for table, field in ((act, "activation_power_of_two"), (weight, "weight_power_of_two")):
        changes |= {field: table["power_of_two"]} if "power_of_two" in table else {}
    changes |= {"per_channel": frozenset(weight["per_channel"])} if "per_channel" in weight else {}
    changes |= {"bias": tables["bias"]["dtype"]} if tables["bias"] else {}
    changes |= {key: layout[key] for key in layout}
    changes |= {"rounding": tables["arithmetic"]["rounding"]} if tables["arithmetic"] else {}
    changes |= {key: runtime[key] for key in ("engine", "saturates") if key in runtime}
    changes |= {"slow": frozenset(runtime["slow"])} if "slow" in runtime else {}
    if tables["fixed_range"]:
        changes["fixed_range"] = _ranges(doc, tables["fixed_range"])
    changes["facts"] = _facts(doc, tables["facts"])
    return Target(**changes) if inherited is None else replace(inherited, **changes)


def _kinds(
    doc: Document, ops: Mapping[str, list[str]], inherited: Target | None
) -> dict[str, frozenset[str]]:
    """The operators of each kind; one that the file names leaves the kind it had."""
    named = {kind: frozenset(ops.get(kind, ())) for kind in KINDS}
    for kind, other in (("compute", "move"), ("compute", "float"), ("move", "float")):
        if twice := sorted(named[kind] & named[other]):
            raise doc.wrong(
                f", table [operators]: {twice[0]} is in both '{kind}' and '{other}'; only one can be",
                "operators",
                other,
            )
    moved = frozenset().union(*named.values())
    before = {
        "compute": inherited.compute if inherited else frozenset(),
        "move": inherited.move if inherited else frozenset(),
    }
    made = {kind: (before[kind] - moved) | named[kind] for kind in before}
    if inherited is not None:
        # what an inherited list says of an operator that stays float now means nothing any more
        keep = made["compute"] | made["move"]
        for key in ("per_channel", "neighbours", "float_output"):
            made[key] = getattr(inherited, key) & keep
        for key in ("fuse_activation", "fuse_sum", "fuse_mask"):
            made[key] = getattr(inherited, key) & made["compute"]
    return made


def _formats(doc: Document, act: Mapping[str, Any], weight: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "dtype" in act:
        changes["activation"] = _format(doc, act["dtype"], "activation", "dtype")
    if "also" in act:
        changes["also"] = frozenset(_format(doc, text, "activation", "also") for text in act["also"])
    if "dtype" in weight:
        fmt = _format(doc, weight["dtype"], "weight", "dtype")
        changes["weight"] = IntFormat(fmt.bits, fmt.signed, narrow=fmt.signed)
    return changes


def _format(doc: Document, text: str, *path: str) -> IntFormat:
    try:
        return IntFormat.parse(text)
    except UsageError as error:
        raise doc.wrong(f", table [{path[0]}]: {error}", *path) from error


def _ranges(doc: Document, table: Mapping[str, object]) -> dict[str, Range]:
    where, made = ", table [fixed_range]", {}
    for op, pair in table.items():
        numbers = isinstance(pair, list) and len(pair) == 2 and all(isinstance(v, int | float) for v in pair)
        if not (isinstance(pair, list) and numbers and pair[0] < pair[1]):
            raise doc.wrong(
                f"{where}: {op} must be [low, high] with low < high, found {pair!r}", "fixed_range", op
            )
        made[op] = (float(pair[0]), float(pair[1]))
    return made


def _facts(doc: Document, table: Mapping[str, object]) -> dict[str, str]:
    where, made = ", table [facts]", {}
    known = {
        *_SECTIONS,
        *(key for tables in (_REQUIRED, _OPTIONAL) for table in tables.values() for key in table),
    }
    known |= {
        f"{s}.{k}" for tables in (_REQUIRED, _OPTIONAL) for s, table in tables.items() if s for k in table
    }
    doc.check_keys(table, sorted(known - {""}), where, "facts")
    for key, text in table.items():
        if not isinstance(text, str) or not text.startswith(("verified: ", "assumed")):
            raise doc.wrong(
                f"{where}: '{key}' must begin with 'verified: ' and its source, or with 'assumed'; "
                f"found {text!r}",
                "facts",
                key,
            )
        made[key] = text
    return made
