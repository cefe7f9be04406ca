"""A value of the graph read as a polynomial in other values: how fusions recognise a formula in any spelling.

Exporters write one formula in many ways: ``x * 0.5 * (1 + e)``, ``(e + 1) * x / 2``, ``x / 2 + x * e / 2``.
Multiplied out, all are the polynomial ``0.5 x + 0.5 x e``. So a fusion names the atoms (``x`` and ``e``),
multiplies out what the graph computes from them, and compares with the formula it looks for:

    x, e = Polynomial.of(x_value), Polynomial.of(e_value)
    for reading in readings(e_value, x_value):          # results computed from e, nearest first
        if reading.polynomial.is_close(0.5 * x * (1 + e)): ...

Atoms may have negative powers (``x / s``). Numbers may be rounded: coefficients are compared relatively.
Larger constants (the gain of a normalization) are atoms of their own. Understood are Add, Sub, Mul, Neg, Div
by a single term, Reciprocal, Pow by a small whole number, and Identity and Cast where they change nothing.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_op, rank, scalar

__all__ = ["Monomial", "Polynomial", "Reading", "ancestors", "read", "readings"]

Monomial: TypeAlias = frozenset[tuple[ir.Value, int]]
"""A product of atoms, each with its power; empty for the constant term."""

_RTOL = 3e-4
"""How far an exported number may be from the formula's: room for numbers once rounded to float16."""
_CANCELS = 1e-6
_MAX_NODES = 24
_MAX_TERMS = 32
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Neg", "Reciprocal", "Pow", "Identity", "Cast")


@dataclass(frozen=True)
class Polynomial:
    """A sum of terms ``coefficient · atom^power · …``; terms that cancel are gone."""

    terms: Mapping[Monomial, float]

    @staticmethod
    def of(term: "Term") -> "Polynomial":
        """A number, an atom, or a polynomial as it is."""
        if isinstance(term, Polynomial):
            return term
        if isinstance(term, ir.Value):
            return Polynomial({frozenset({(term, 1)}): 1.0})
        return Polynomial({frozenset(): float(term)} if term else {})

    def __add__(self, other: "Term") -> "Polynomial":
        terms = dict(self.terms)
        for monomial, coefficient in Polynomial.of(other).terms.items():
            total = terms.pop(monomial, 0.0) + coefficient
            if abs(total) > _CANCELS * abs(coefficient):
                terms[monomial] = total
        return Polynomial(terms)

    def __mul__(self, other: "Term") -> "Polynomial":
        total = Polynomial({})
        for a, p in self.terms.items():
            for b, q in Polynomial.of(other).terms.items():
                total = total + Polynomial({_times(a, b): p * q})
        return total

    def __neg__(self) -> "Polynomial":
        return self * -1

    def __sub__(self, other: "Term") -> "Polynomial":
        return self + -Polynomial.of(other)

    def __rsub__(self, other: "Term") -> "Polynomial":
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __pow__(self, power: int) -> "Polynomial":
        """A whole power; a negative one only of a single term."""
        base = self if power >= 0 else self.inverse()
        return math.prod([base] * abs(power), start=Polynomial.of(1.0))

    def inverse(self) -> "Polynomial":
        """``1 / p`` of a single term.

        Raises:
            ValueError: there are several terms, or none.
        """
        if len(self.terms) != 1:
            raise ValueError(f"only a single term can be inverted, not {len(self.terms)}")
        (monomial, coefficient), *_ = self.terms.items()
        return Polynomial({frozenset((atom, -power) for atom, power in monomial): 1 / coefficient})

    def coefficient(self, *atoms: ir.Value) -> float:
        """The coefficient of the product of different atoms; of none: the constant term."""
        return self.terms.get(frozenset((atom, 1) for atom in atoms), 0.0)

    def is_close(self, other: "Polynomial") -> bool:
        """Whether both have the same terms, with coefficients alike within a few 1e-4."""
        return self.terms.keys() == other.terms.keys() and all(
            math.isclose(coefficient, other.terms[monomial], rel_tol=_RTOL)
            for monomial, coefficient in self.terms.items()
        )


Term: TypeAlias = Polynomial | ir.Value | float


@dataclass(frozen=True)
class Reading:
    """A value as a polynomial, and the nodes that compute it from the atoms, makers before readers."""

    value: ir.Value
    polynomial: Polynomial
    nodes: Sequence[ir.Node]


def read(value: ir.Value | None, *atoms: ir.Value) -> Reading | None:
    """``value`` as a polynomial in ``atoms``, or None if it depends on more than them and constants."""
    if value is None:
        return None
    reader = _Reader(value.graph, atoms)
    found = reader.polynomial(value)
    return None if found is None else Reading(value, found, list(reader.nodes))


def readings(source: ir.Value, *atoms: ir.Value, depth: int = 7) -> Iterator[Reading]:
    """``source`` and what is computed from it, as polynomials in it and ``atoms``, nearest first."""
    level = [source]
    seen = set(level)
    for _ in range(depth):
        further: list[ir.Value] = []
        for value in level:
            if (reading := read(value, source, *atoms)) is None:
                continue
            yield reading
            results = [n.outputs[0] for n in consumers(value) if is_op(n, *_ARITHMETIC)]
            further += [v for v in results if v not in seen and v.graph is source.graph]
            seen.update(further)
        level = further


def ancestors(value: ir.Value | None, depth: int = 6) -> Iterator[ir.Value]:
    """``value`` and what it is computed from by arithmetic, nearest first: where to look for an atom."""
    level = [] if value is None else [value]
    seen: set[ir.Value] = set()
    for _ in range(depth):
        further: list[ir.Value] = []
        for one in level:
            if one in seen or scalar(one) is not None:
                continue
            seen.add(one)
            yield one
            maker = one.producer()
            if is_op(maker, *_ARITHMETIC) and maker is not None:
                further += [source for source in maker.inputs if source is not None]
        level = further


class _Reader:
    """Multiplies out one value; None at other scopes, and beyond a bounded number of nodes and terms."""

    def __init__(self, graph: ir.Graph | ir.Function | None, atoms: Iterable[ir.Value]) -> None:
        self.atoms = list(atoms)
        self.graph = graph
        self.rank = max(rank(atom) or 0 for atom in self.atoms)
        self.nodes: dict[ir.Node, None] = {}
        self.visits = 0

    def polynomial(self, value: ir.Value | None) -> Polynomial | None:
        if value is None or self.visits >= _MAX_NODES:
            return None
        if value in self.atoms:
            return Polynomial.of(value)
        array = constant(value)
        if array is not None:
            return self._constant(value, array.ndim)
        node = value.producer()
        if node is None or node.graph is not self.graph or not is_op(node, *_ARITHMETIC):
            return None
        self.visits += 1
        found = self._node(node)
        if found is None or len(found.terms) > _MAX_TERMS:
            return None
        self.nodes[node] = None
        return found

    def _constant(self, value: ir.Value, ndim: int) -> Polynomial | None:
        """A constant of more axes than the atoms would widen the result, so it is no plain factor."""
        if ndim > self.rank:
            return None
        number = scalar(value)
        return Polynomial.of(value if number is None else number)

    def _node(self, node: ir.Node) -> Polynomial | None:
        if node.op_type == "Cast" and not _keeps_dtype(node):
            return None
        a = self.polynomial(get_input(node, 0))
        if a is None or node.op_type in ("Identity", "Cast"):
            return a
        if node.op_type in ("Neg", "Reciprocal"):
            return -a if node.op_type == "Neg" else _divide(Polynomial.of(1.0), a)
        b = self.polynomial(get_input(node, 1))
        return None if b is None else _combine(node.op_type, a, b)


def _keeps_dtype(node: ir.Node) -> bool:
    source = get_input(node, 0)
    return source is not None and source.dtype is not None and source.dtype == node.outputs[0].dtype


def _combine(op_type: str, a: Polynomial, b: Polynomial) -> Polynomial | None:
    if op_type in ("Add", "Sub"):
        return a + b if op_type == "Add" else a - b
    if op_type in ("Mul", "Div"):
        return a * b if op_type == "Mul" else _divide(a, b)
    exponent = b.coefficient()
    if not b.is_close(Polynomial.of(exponent)) or exponent not in (1, 2, 3):
        return None
    return a ** int(exponent)


def _divide(a: Polynomial, b: Polynomial) -> Polynomial | None:
    return a * b.inverse() if len(b.terms) == 1 else None


def _times(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return frozenset((atom, power) for atom, power in powers.items() if power)
