"""The output error of a layer as a quadratic function of its weights.

With rows x of what the layer reads, outputs y that it should give, and weights ŵ of one output,

    E(ŵ) = mean (y − ŵ·x)² = ŵ H ŵᵀ − 2 ŵ·c + e,     H = mean x xᵀ,   c = mean y x,   e = mean y²

and with the best bias for each ŵ, b = mean y − ŵ·mean x, the same with centred moments. So any number of
rows costs the memory of H, and every method works on exact errors and gradients.
"""

from dataclasses import dataclass

import numpy as np

from onnxq.graph.numeric import FloatArray

__all__ = ["Means", "Quadratic", "Sums"]

_NOISE = 1e-5
"""An input whose variance is a smaller share of its mean square than this counts as constant."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """h: [groups, inputs, inputs], c: [groups, outputs, inputs], e: [groups, outputs]; float64."""

    h: FloatArray
    c: FloatArray
    e: FloatArray

    def error(self, weights: FloatArray) -> FloatArray:
        """E of every output, [groups, outputs], for weights [groups, outputs, inputs]."""
        product = weights @ self.h - 2 * self.c
        found: FloatArray = np.einsum("gnk,gnk->gn", product, weights) + self.e
        return found

    def damped(self, share: float) -> FloatArray:
        """H with ``share`` of its mean diagonal added to the diagonal, positive definite.

        Inputs that never differ from zero get a one: no weight of theirs matters.
        """
        diagonal = np.einsum("gkk->gk", self.h)
        lift = share * diagonal.mean(axis=1, keepdims=True)
        size = self.h.shape[1]
        lift = np.where(diagonal + lift > 0, lift, 1.0)
        return self.h + lift[:, :, None] * np.eye(size)

    def minimum(self, weights: FloatArray, share: float) -> FloatArray:
        """The real weights of smallest error, held to ``weights`` by a ridge of ``share`` · mean diagonal.

        ŵ = w + (c − w H) (H + λI)⁻¹
        """
        slope = self.c - weights @ self.h
        step: FloatArray = np.linalg.solve(self.damped(share), slope.swapaxes(1, 2)).swapaxes(1, 2)
        return weights + step


class Means:
    """Sums over rows of inputs and wanted outputs, float64 however many rows there are."""

    def __init__(self, groups: int, outputs: int, inputs: int) -> None:
        self.count = 0
        self._x = np.zeros((groups, 1, inputs))
        self._y = np.zeros((groups, outputs))

    def add(self, rows: FloatArray, outputs: FloatArray) -> None:
        """rows: float32 [rows, groups, inputs]; outputs: float32 [rows, groups, outputs]."""
        self.count += len(rows)
        self._x += rows.sum(axis=0, dtype=np.float64)[:, None, :]
        self._y += outputs.sum(axis=0, dtype=np.float64)

    @property
    def mean_input(self) -> FloatArray:
        """[groups, 1, inputs]."""
        return self._x / max(self.count, 1)

    @property
    def mean_output(self) -> FloatArray:
        """[groups, outputs]."""
        return self._y / max(self.count, 1)

    def shift(self, weights: FloatArray) -> FloatArray:
        """The best bias for weights [groups, outputs, inputs]: mean y − ŵ · mean x, [groups, outputs]."""
        found: FloatArray = self.mean_output - (weights * self.mean_input).sum(axis=2)
        return found


class Sums(Means):
    """Means and sums of products, from which the :class:`Quadratic` follows."""

    def __init__(self, groups: int, outputs: int, inputs: int) -> None:
        super().__init__(groups, outputs, inputs)
        self._xx = np.zeros((groups, inputs, inputs))
        self._yx = np.zeros((groups, outputs, inputs))
        self._yy = np.zeros((groups, outputs))

    def add(self, rows: FloatArray, outputs: FloatArray) -> None:
        super().add(rows, outputs)
        x, y = rows.transpose(1, 0, 2), outputs.transpose(1, 2, 0)
        self._xx += x.swapaxes(1, 2) @ x
        self._yx += y @ x
        self._yy += np.einsum("gnr,gnr->gn", y, y, dtype=np.float64)

    def quadratic(self, *, centred: bool) -> Quadratic:
        """The error with the bias as it is, or with the best bias for each weight."""
        n = max(self.count, 1)
        h, c, e = self._xx / n, self._yx / n, self._yy / n
        if not centred:
            return Quadratic(h, c, e)
        x, y = self.mean_input, self.mean_output
        spread = h - x.swapaxes(1, 2) @ x
        # products are summed in float32: what is left of an input that never differs is noise of either sign
        live = np.einsum("gkk->gk", spread) > _NOISE * np.einsum("gkk->gk", h)
        spread = spread * (live[:, :, None] & live[:, None, :])
        return Quadratic(spread, (c - y[:, :, None] * x) * live[:, None, :], np.maximum(e - y**2, 0.0))
