"""Sets of sample positions as sorted half-open intervals: which samples a statistic has counted."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Intervals"]


@dataclass(frozen=True)
class Intervals:
    """Disjoint [start, stop), ascending, never touching: one set has one form."""

    pairs: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> "Intervals":
        """The union of any intervals.

        Raises:
            ValueError: one starts below zero or ends before it starts.
        """
        joined: list[tuple[int, int]] = []
        for start, stop in sorted(pairs):
            if not 0 <= start <= stop:
                raise ValueError(f"[{start}, {stop}) is no interval of positions")
            if joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(joined[-1][1], stop)
            elif start < stop:
                joined.append((start, stop))
        return cls(tuple(joined))

    @classmethod
    def whole(cls, count: int) -> "Intervals":
        """[0, count)."""
        return cls.of([(0, count)])

    def __bool__(self) -> bool:
        return bool(self.pairs)

    def __contains__(self, position: int) -> bool:
        return any(start <= position < stop for start, stop in self.pairs)

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.pairs)

    def __or__(self, other: "Intervals") -> "Intervals":
        return Intervals.of([*self.pairs, *other.pairs])

    def __and__(self, other: "Intervals") -> "Intervals":
        cuts = ((max(a, c), min(b, d)) for a, b in self.pairs for c, d in other.pairs)
        return Intervals.of((start, stop) for start, stop in cuts if start < stop)

    def __sub__(self, other: "Intervals") -> "Intervals":
        left = self
        for start, stop in other.pairs:
            left = left & Intervals.of([(0, start)]) | left & Intervals.of([(stop, max(stop, left._end))])
        return left

    @property
    def _end(self) -> int:
        return self.pairs[-1][1] if self.pairs else 0

    def __str__(self) -> str:
        return ", ".join(f"{a}" if b == a + 1 else f"{a}–{b - 1}" for a, b in self.pairs)
