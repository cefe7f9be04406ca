"""Adam, the optimizer of the learning methods: steps of a size that does not depend on the gradient's.

Source: Kingma and Ba, "Adam: a method for stochastic optimization", arXiv 1412.6980, algorithm 1.
"""

from dataclasses import dataclass, field

import numpy as np

from onnxq.graph.numeric import FloatArray

__all__ = ["Adam"]

_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-12


@dataclass
class Adam:
    """``rate`` is the size of a step."""

    rate: float
    _count: int = 0
    _mean: FloatArray = field(default_factory=lambda: np.zeros(()))
    _square: FloatArray = field(default_factory=lambda: np.zeros(()))

    def step(self, x: FloatArray, slope: FloatArray, share: float = 1.0) -> FloatArray:
        """The next point, ``share`` of a whole step away."""
        self._count += 1
        self._mean = _FIRST * self._mean + (1 - _FIRST) * slope
        self._square = _SECOND * self._square + (1 - _SECOND) * slope**2
        mean = self._mean / (1 - _FIRST**self._count)
        size = np.sqrt(self._square / (1 - _SECOND**self._count)) + _TINY
        moved: FloatArray = x - self.rate * share * mean / size
        return moved
