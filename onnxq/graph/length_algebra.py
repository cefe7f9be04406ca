"""Lengths of axes as numbers times lengths of open axes, and what is counted with them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import TypeAlias

__all__ = ["ONE", "Length", "Partly", "Shape", "broadcast", "product"]


@dataclass(frozen=True)
class Length:
    """``factor`` times the lengths of open axes, sorted by their names."""

    factor: Fraction
    axes: tuple[str, ...] = ()

    def __mul__(self, other: "Length") -> "Length":
        return Length(self.factor * other.factor, tuple(sorted(self.axes + other.axes)))

    def over(self, other: "Length") -> "Length | None":
        """The quotient, where it is a number times lengths."""
        mine, theirs = Counter(self.axes), Counter(other.axes)
        if not other.factor or theirs - mine:
            return None
        return Length(self.factor / other.factor, tuple(sorted((mine - theirs).elements())))


Shape: TypeAlias = tuple[Length, ...]
Partly: TypeAlias = Sequence[Length | None]
"""A shape some of whose axes depend on the run."""

ONE = Length(Fraction(1))


def broadcast(shapes: Iterable[Partly]) -> Partly:
    """The shape of a result of several operands; None for an axis that depends on the run."""
    shapes = list(shapes)
    rank = max((len(shape) for shape in shapes), default=0)
    padded = [(ONE,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return [_together(set(lengths) - {ONE}) for lengths in zip(*padded, strict=True)]


def _together(lengths: set[Length | None]) -> Length | None:
    """Lengths other than 1 of one axis: a number settles it, since the model runs."""
    numbers = {length for length in lengths if length is not None and not length.axes}
    candidates = numbers or lengths
    return ONE if not candidates else candidates.pop() if len(candidates) == 1 else None


def product(lengths: Iterable[Length]) -> Length:
    """All lengths multiplied: how many elements a shape has."""
    return reduce(lambda a, b: a * b, lengths, ONE)
