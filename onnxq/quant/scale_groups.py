"""Union-find over hashable items: which values must share one scale."""

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["ScaleGroups"]

T = TypeVar("T", bound=Hashable)


class ScaleGroups(Generic[T]):
    """Disjoint sets; the member that was seen first leads its set, so that results are stable."""

    def __init__(self) -> None:
        self._parent: dict[T, T] = {}
        self._order: dict[T, int] = {}

    def leader(self, item: T) -> T:
        """The first-seen member of the item's group."""
        self._order.setdefault(item, len(self._order))
        root = item
        while self._parent.get(root, root) != root:
            root = self._parent[root]
        while self._parent.get(item, item) != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def join(self, *items: T) -> None:
        """Put all items into one group."""
        leaders = sorted({self.leader(item) for item in items}, key=self._order.__getitem__)
        for other in leaders[1:]:
            self._parent[other] = leaders[0]
