"""The constants of an integer model as a C header: multipliers, addends, shifts, tables, zero points."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxq.errors import ModelError
from onnxq.graph.numeric import Array

__all__ = ["Constant", "c_header", "identifiers"]

_TYPES: Mapping[str, tuple[str, str]] = {
    "bool": ("uint8_t", "{}"),
    "int8": ("int8_t", "{}"),
    "uint8": ("uint8_t", "{}"),
    "int16": ("int16_t", "{}"),
    "uint16": ("uint16_t", "{}"),
    "int32": ("int32_t", "INT32_C({})"),
    "uint32": ("uint32_t", "UINT32_C({})"),
    "int64": ("int64_t", "INT64_C({})"),
    "uint64": ("uint64_t", "UINT64_C({})"),
}
_WORDS = frozenset(
    [
        "alignas",
        "alignof",
        "and",
        "asm",
        "auto",
        "bool",
        "break",
        "case",
        "catch",
        "char",
        "class",
        "const",
        "constexpr",
        "continue",
        "default",
        "delete",
        "do",
        "double",
        "else",
        "enum",
        "explicit",
        "export",
        "extern",
        "false",
        "float",
        "for",
        "friend",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "mutable",
        "namespace",
        "new",
        "not",
        "nullptr",
        "operator",
        "or",
        "private",
        "protected",
        "public",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "template",
        "this",
        "throw",
        "true",
        "try",
        "typedef",
        "typename",
        "union",
        "unsigned",
        "using",
        "virtual",
        "void",
        "volatile",
        "while",
        "xor",
        "main",
    ]
)
_WIDTH = 100
_LONGEST = 120
"""Letters of an identifier that come from the name: file systems take 255, with number and suffix."""


@dataclass(frozen=True)
class Constant:
    """A constant of the model and the node that reads it first, as messages name it."""

    name: str
    array: Array
    reader: str


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """A C identifier for each name, unlike all others even where case does not count, in their order.

    Letters, digits and single underscores; a keyword of C or C++, a digit or nothing in front gets ``c_``.
    """
    made: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
        plain = plain[:_LONGEST]
        plain = f"c_{plain}" if not plain or plain[0].isdigit() or plain.lower() in _WORDS else plain
        candidate, i = plain, 1
        while candidate.lower() in taken:
            i += 1
            candidate = f"{plain}_{i}"
        taken.add(candidate.lower())
        made[name] = candidate
    return made


def c_header(constants: Sequence[Constant], names: Mapping[str, str], largest: int) -> str:
    """A header with one ``static const`` array a constant, row by row; those over ``largest`` are left out.

    Raises:
        ModelError: a constant is no integer and no boolean.
    """
    lines = [
        "/* Constants of an integer-only ONNX model, written by onnxq golden: see index.json. */",
        "#ifndef ONNXQ_CONSTANTS_H",
        "#define ONNXQ_CONSTANTS_H",
        "",
        "#include <stdint.h>",
    ]
    for constant in constants:
        lines += ["", *_definition(constant, names[constant.name], largest)]
    return "\n".join([*lines, "", "#endif", ""])


def _definition(constant: Constant, name: str, largest: int) -> Iterator[str]:
    array = constant.array
    if array.dtype.name not in _TYPES:
        raise ModelError(f"the constant '{constant.name}' is {array.dtype}: no integer type of C holds it")
    shape = "x".join(map(str, array.shape)) or "scalar"
    said = f"{_quoted(constant.name)}, {shape}, read by {_quoted(constant.reader)}"
    if array.size > largest:
        yield f"/* left out, {array.size} elements: {said} */"
        return
    if array.size == 0:
        yield f"/* empty: {said} */"
        return
    kind, literal = _TYPES[array.dtype.name]
    yield f"/* {said} */"
    yield f"static const {kind} {name}[{array.size}] = {{"
    yield from _lines(_literals(array, literal))
    yield "};"


def _lines(literals: Iterable[str]) -> Iterator[str]:
    line = "   "
    for literal in literals:
        if len(line) + len(literal) >= _WIDTH and line.strip():
            yield line
            line = "   "
        line += f" {literal},"
    yield line


def _literals(array: Array, literal: str) -> Iterator[str]:
    """INT64_MIN and INT32_MIN cannot be written as one literal: the minus sign is an operator."""
    for number in array.reshape(-1).tolist():
        value = int(number)
        lowest = array.dtype.kind == "i" and array.dtype.itemsize > 2 and value == np.iinfo(array.dtype).min
        yield f"({literal.format(value + 1)} - 1)" if lowest else literal.format(value)


def _quoted(text: str) -> str:
    """A name inside a comment: on one line, unable to end it or to be a trigraph."""
    return json.dumps(text).replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
