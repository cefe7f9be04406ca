"""Unknown scales, one a channel, and which of them must be equal or reciprocal.

The logarithm of the scale of each channel is an unknown; a value's channels name theirs by signed numbers:

    +k   the unknown t_k        −k   its negative, the reciprocal scale        0   no scale: t = 0

Operators demand that channels agree (the two sides of an Add), cancel (the contracted axis of Q·Kᵀ) or have
no scale at all. Unknowns that such equations connect are one; an unknown that must be its own negative is 0.
"""

import numpy as np

from onnxq.graph.numeric import Array, IntArray

__all__ = ["Unknowns"]


class Unknowns:
    """Makes numbers, collects equations between them, and settles what is left."""

    def __init__(self) -> None:
        self._count = 0
        self._left: list[Array] = []
        self._right: list[Array] = []

    def fresh(self, shape: tuple[int, ...]) -> IntArray:
        """New numbers, int64 of ``shape``."""
        size = int(np.prod(shape))
        made = np.arange(self._count + 1, self._count + 1 + size, dtype=np.int64).reshape(shape)
        self._count += size
        return made

    def equal(self, a: IntArray, b: IntArray | int) -> None:
        """Demand ``a == b`` for every channel, with broadcasting."""
        left, right = np.broadcast_arrays(a, b)
        for x, y in ((left, right), (-left, -right)):
            self._left.append(_code(x.reshape(-1)))
            self._right.append(_code(y.reshape(-1)))

    def settle(self) -> IntArray:
        """What every number stands for: int64 [count + 1], entry k is a signed number of 1 … n, or 0.

        Labels spread along the equations until each connected set agrees on its smallest; label 0 is "no
        scale".
        """
        labels = np.arange(2 * self._count + 1)
        if self._left:
            _spread(labels, np.concatenate(self._left), np.concatenate(self._right))
        plus, minus = labels[1::2], labels[2::2]
        free = (plus != minus) & (plus != 0)
        names = np.minimum(plus, minus)
        settled = np.zeros(self._count + 1, np.int64)
        if free.any():
            numbers = np.unique(names[free], return_inverse=True)[1] + 1
            settled[1:][free] = numbers
            settled[1:][free & (plus > minus)] *= -1
        return settled


def _code(ids: Array) -> Array:
    """0 → 0, +k → 2k − 1, −k → 2k."""
    return np.where(ids > 0, 2 * ids - 1, -2 * ids)


def _spread(labels: Array, left: Array, right: Array) -> None:
    while True:
        before = labels.copy()
        a, b = labels[left], labels[right]
        low = np.minimum(a, b)
        np.minimum.at(labels, a, low)
        np.minimum.at(labels, b, low)
        while not np.array_equal(labels, labels[labels]):
            labels[:] = labels[labels]
        if np.array_equal(before, labels):
            return
