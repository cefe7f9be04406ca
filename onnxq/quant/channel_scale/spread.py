"""What the choice of scales has to know of a value: bounds, mean and mean square along kept axes."""

from collections.abc import Mapping
from math import prod
from typing import Self

import numpy as np

from onnxq.calibration.exact_sum import ExactSum
from onnxq.calibration.statistics import Statistic, bounds, field
from onnxq.graph.numeric import Array, FloatArray

__all__ = ["Spread"]


class Spread(Statistic):
    """Bounds and moments for each index of the axes whose entry in ``shape`` is not 1.

    All results are float64 of ``shape``, a shape that broadcasts against the value's: [1, C, 1, 1] per
    channel, [1, H, 1, D] per element of each attention head, [1, 1, 1] for the whole tensor.
    """

    kind = "spread"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.count = 0
        self.min: FloatArray = np.full(shape, np.inf)
        self.max: FloatArray = np.full(shape, -np.inf)
        self._sum = ExactSum()
        self._squares = ExactSum()

    @property
    def mean(self) -> FloatArray:
        return np.broadcast_to(self._sum.value / max(self.count, 1), self.shape)

    @property
    def mean_square(self) -> FloatArray:
        return np.broadcast_to(self._squares.value / max(self.count, 1), self.shape)

    @property
    def absmax(self) -> FloatArray:
        """max|x|, 0 while nothing was seen."""
        return np.maximum(np.maximum(self.max, -self.min), 0.0)

    def update(self, array: Array, sample: int = 0) -> None:
        if not array.size:
            return
        if array.ndim != len(self.shape) or any(
            want not in (1, have) for want, have in zip(self.shape, array.shape, strict=True)
        ):
            raise ValueError(f"it has the shape {array.shape}, which does not keep {self.shape}")
        over = tuple(i for i, size in enumerate(self.shape) if size == 1)
        low, high = array.min(over, keepdims=True), array.max(over, keepdims=True)
        if not np.isfinite(low + high).all():
            bounds(array)
        self.min, self.max = np.minimum(self.min, low), np.maximum(self.max, high)
        real = np.asarray(array, np.float32)
        self._sum.add(real.sum(over, keepdims=True, dtype=np.float64))
        self._squares.add(np.square(real).sum(over, keepdims=True, dtype=np.float64))
        self.count += array.size // prod(self.shape)

    def merge(self, other: Self) -> None:
        if other.shape != self.shape:
            raise ValueError(f"shape {other.shape} cannot be merged into {self.shape}")
        self.min, self.max = np.minimum(self.min, other.min), np.maximum(self.max, other.max)
        self._sum.merge(other._sum)
        self._squares.merge(other._squares)
        self.count += other.count

    def to_arrays(self) -> dict[str, Array]:
        head = {"count": np.array(self.count, np.int64), "min": self.min, "max": self.max}
        sums = (("sum", self._sum), ("squares", self._squares))
        return head | {f"{n}.{k}": v for n, s in sums for k, v in s.to_arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        low = arrays.get("min", np.zeros(()))
        made = cls(low.shape)
        made.count = int(field(arrays, "count", "i", 0))
        made.min, made.max = low.copy(), field(arrays, "max", "f", low.ndim).copy()
        made._sum, made._squares = (
            ExactSum.from_arrays({k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{n}.")})
            for n in ("sum", "squares")
        )
        return made
