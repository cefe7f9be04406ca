"""Einsum of two operands as one MatMul between Transposes and Reshapes.

       y = Einsum<"bqhd,bkhd->bhqk">(a, b)
    => y = MatMul(Transpose(a) [b, h, q, d], Transpose(b) [b, h, d, k])

Letters of both operands are summed over where the result lacks them, else they are batch axes; letters of one
operand are its rows or columns. Several rows, columns or summed axes become one by Reshape.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, rank
from onnxq.graph.rewriter import Rewriter

__all__ = ["Equation", "read_equation", "write_einsum"]


@dataclass(frozen=True)
class Equation:
    """The letters of both operands and of the result, and what becomes of them."""

    left: str
    right: str
    result: str

    @property
    def batch(self) -> str:
        return "".join(c for c in self.result if c in self.left and c in self.right)

    @property
    def summed(self) -> str:
        return "".join(c for c in self.left if c in self.right and c not in self.result)

    @property
    def rows(self) -> str:
        return "".join(c for c in self.result if c not in self.right)

    @property
    def columns(self) -> str:
        return "".join(c for c in self.result if c not in self.left)


def read_equation(node: ir.Node) -> Equation | None:
    """The equation of an Einsum that is a product of two matrices; None for any other.

    That is one with a letter twice in an operand, with a letter that only one operand has and the result
    lacks, or where more than one length would have to be worked out at run time.
    """
    text = (node.attributes.get_string("equation", "") or "").replace(" ", "")
    operands, _, result = text.partition("->")
    parts, ranks = operands.split(","), [rank(value) for value in node.inputs]
    if len(parts) != 2 or None in ranks:
        return None
    if "->" not in text:
        dots = "..." if "." in operands else ""
        result = dots + "".join(sorted(c for c in set(operands) if c.isalpha() and operands.count(c) == 1))
    spare = [c for c in ascii_letters if c not in text]
    implied = [(n or 0) - len(part.replace("...", "")) for part, n in zip(parts, ranks, strict=True)]
    if min(implied) < 0 or any(n and "..." not in part for part, n in zip(parts, implied, strict=True)):
        return None
    parts = [_spelled(part, spare[:n]) for part, n in zip(parts, implied, strict=True)]
    found = Equation(parts[0], parts[1], _spelled(result, spare[: max(implied)]))
    letters = set(found.batch + found.summed + found.rows + found.columns)
    if any(len(set(part)) < len(part) for part in (*parts, found.result)) or letters != set("".join(parts)):
        return None
    if _stretches(node, found):
        return None
    lengths = _lengths(node, found)
    groups = (found.rows, found.columns, found.summed)
    open_ = [c for group in groups for c in group if lengths[c] is None]
    return found if len(open_) < 2 or all(len(group) == 1 for group in groups) else None


def _spelled(part: str, letters: Sequence[str]) -> str:
    """An operand with letters for its ``...``, the last axis first."""
    return part.replace("...", "".join(reversed(letters)))


def _stretches(node: ir.Node, equation: Equation) -> bool:
    """Whether one letter is 1 in one operand and longer in the other, or may be."""
    sizes = [
        dict(zip(letters, (n if isinstance(n, int) else None for n in value.shape or ()), strict=True))
        for value, letters in zip(node.inputs, (equation.left, equation.right), strict=True)
        if value is not None
    ]
    pairs = [(a, sizes[1][c]) for c, a in sizes[0].items() if c in sizes[1]]
    return any(a != b and (1 in (a, b) or None not in (a, b)) for a, b in pairs)


def write_einsum(node: ir.Node, equation: Equation, rw: Rewriter) -> ir.Value:
    """Prepare the nodes that compute an Einsum of :func:`read_equation`."""
    e, lengths = equation, _lengths(node, equation)
    whole = not e.batch and len(e.rows) > 1  # a matrix on the right takes any number of rows
    rows = e.rows if whole else f"({e.rows})"
    left = _arranged(rw, node.inputs[0], e.left, f"{e.batch}{rows}({e.summed})", lengths)
    right = _arranged(rw, node.inputs[1], e.right, f"{e.batch}({e.summed})({e.columns})", lengths)
    axes = [*e.batch, *(e.rows if whole else [e.rows]), e.columns]
    product = rw.op("MatMul", [left, right], dtype=left.dtype, shape=_shape(axes, lengths))
    made = e.batch + e.rows + e.columns
    if any(len(axis) != 1 for axis in axes):
        product = _reshaped(rw, product, axes, list(made), lengths)
    return _transposed(rw, product, made, e.result, lengths)


def _lengths(node: ir.Node, equation: Equation) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for value, letters in zip(node.inputs, (equation.left, equation.right), strict=True):
        dims: Sequence[object] = list(value.shape or ()) if value is not None else ()
        found.update((c, dim) for c, dim in zip(letters, dims, strict=True) if isinstance(dim, int))
    return {c: found.get(c) for c in equation.left + equation.right}


def _arranged(
    rw: Rewriter, value: ir.Value | None, letters: str, wanted: str, lengths: dict[str, int | None]
) -> ir.Value:
    """The operand with its axes as ``wanted``, those in parentheses as one; a constant stays a constant."""
    assert value is not None, "an Einsum has all its inputs"
    axes = [part for piece in wanted.split("(") for part in _split(piece)]
    order = "".join(axes)
    array = constant(value)
    if array is not None:
        turned = array.transpose([letters.index(c) for c in order])
        sizes = [math.prod(array.shape[letters.index(c)] for c in axis) for axis in axes]
        return rw.const(turned.reshape(sizes), f"{value.name or 'operand'}_matrix")
    turned_value = _transposed(rw, value, letters, order, lengths)
    if all(len(axis) == 1 for axis in axes):
        return turned_value
    return _reshaped(rw, turned_value, list(order), axes, lengths)


def _split(piece: str) -> list[str]:
    """``ab)cd`` is the axis ``ab`` and the axes ``c`` and ``d``."""
    together, closed, rest = piece.partition(")")
    return [together, *rest] if closed else list(piece)


def _transposed(
    rw: Rewriter, value: ir.Value, letters: str, order: str, lengths: dict[str, int | None]
) -> ir.Value:
    if letters == order:
        return value
    perm = [letters.index(c) for c in order]
    return rw.op("Transpose", [value], {"perm": perm}, dtype=value.dtype, shape=_shape(list(order), lengths))


def _reshaped(
    rw: Rewriter, value: ir.Value, before: Sequence[str], axes: Sequence[str], lengths: dict[str, int | None]
) -> ir.Value:
    """Axes merged or taken apart. Open lengths in front, of axes that stay, are copied; one may follow."""
    pairs = zip(before, axes, strict=False)
    kept = next((i for i, (old, new) in enumerate(pairs) if old != new or len(new) != 1), len(axes))
    whole = [math.prod(n for c in axis if (n := lengths[c]) is not None) for axis in axes]
    open_ = [any(lengths[c] is None for c in axis) for axis in axes]
    sizes = [(0 if i < kept else -1) if open_[i] else size for i, size in enumerate(whole)]
    target = rw.const(np.asarray(sizes, np.int64), f"{value.name or 'operand'}_shape")
    return rw.op("Reshape", [value, target], dtype=value.dtype, shape=_shape(axes, lengths))


def _shape(axes: Sequence[str], lengths: dict[str, int | None]) -> ir.Shape:
    known = [[lengths[c] for c in axis] for axis in axes]
    return ir.Shape([None if None in own else math.prod(n for n in own if n is not None) for own in known])
