"""The noise that quantization adds, as a function of the scales: what the solver makes small.

A step of Δ adds Δ²/12. With t the logarithm of the scales, G the importance of noise (per signal power) and
x' = x / s, W' = W · s_i / s_o what is rounded:

    value    Δ = (max_c h_c e^−t_c + max_c l_c e^−t_c) / levels        noise  Δ²/12 · mean_c G_c e^2t_c
    weight   Δ_o = max_i |W_oi| e^(t_i − t_o) / qmax (max over o too if per tensor)
             noise  mean_o G_o e^2t_o Δ_o²/12 · Σ_i k E[x_i²] e^−2t_i

Each is a product of maxima and sums of exponentials, so its logarithm is convex in t, and so is the sum of
all: there is one best choice. The maximum is softened to a p-norm, so that the gradient sees all channels
near it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxq.graph.numeric import FloatArray, IntArray

__all__ = ["Scaled", "Term", "ValueNoise", "WeightNoise", "total"]

_SMALLEST = 1e-30


class Term(Protocol):
    """One source of noise."""

    @property
    def ids(self) -> IntArray:
        """The signed numbers it depends on, flat."""

    def add(self, t: "Scaled", gradient: FloatArray, p: float) -> float:
        """The noise at ``t``; its derivative is added to ``gradient``."""


class Scaled:
    """t by signed number: ``t[ids]``; entry 0 is 0, −k is −t_k."""

    def __init__(self, t: FloatArray) -> None:
        self._table = np.concatenate([-t[::-1], [0.0], t])
        self._zero = len(t)

    def __getitem__(self, ids: IntArray) -> FloatArray:
        found: FloatArray = self._table[self._zero + ids]
        return found


def total(terms: Sequence[Term], t: FloatArray, p: float) -> tuple[float, FloatArray]:
    """The sum of all terms and its gradient, float64 [unknowns]."""
    gradient = np.zeros(2 * len(t) + 1)
    scaled = Scaled(t)
    value = sum(term.add(scaled, gradient, p) for term in terms)
    n = len(t)
    return value, gradient[n + 1 :] - gradient[:n][::-1]


def _soft_max(logs: FloatArray, p: float) -> tuple[float, FloatArray]:
    """The logarithm of the p-norm of exp(logs), and its derivative."""
    top = float(logs.max())
    powers = np.exp(p * (logs - top))
    norm = float(powers.sum())
    return top + float(np.log(norm)) / p, powers / norm


@dataclass(frozen=True, eq=False)
class ValueNoise:
    """Values that share one scale. All arrays are flat, one entry a channel of a value.

    ``span, high, low`` give the range (logarithms of h and l); noise enters at ``entry_ids`` with ``weight``.
    """

    span: IntArray
    high: FloatArray
    low: FloatArray
    entry_ids: IntArray
    weight: FloatArray
    levels: float

    @property
    def ids(self) -> IntArray:
        return np.concatenate([self.span, self.entry_ids])

    def add(self, t: Scaled, gradient: FloatArray, p: float) -> float:
        zero = len(gradient) // 2
        at = t[self.span]
        up, d_up = _soft_max(self.high - at, p)
        down, d_down = _soft_max(self.low - at, p)
        step = float(np.exp(up) + np.exp(down))
        entering = self.weight * np.exp(2 * t[self.entry_ids])
        whole = float(entering.sum())
        noise = (step / self.levels) ** 2 / 12 * whole
        slope = (np.exp(up) * d_up + np.exp(down) * d_down) / step
        np.add.at(gradient, zero + self.span, -2 * noise * slope)
        np.add.at(
            gradient, zero + self.entry_ids, 2 * noise * entering / max(float(entering.sum()), _SMALLEST)
        )
        return noise


@dataclass(frozen=True, eq=False)
class WeightNoise:
    """The weight of one linear node. logs: ln|W| at most over the kernel, [groups, outputs, inputs].

    ids_in [groups, inputs], ids_out [groups, outputs]; power: k·E[x²] as ids_in; weight: G / outputs as
    ids_out.
    """

    logs: FloatArray
    ids_in: IntArray
    ids_out: IntArray
    power: FloatArray
    weight: FloatArray
    levels: float
    per_channel: bool

    @property
    def ids(self) -> IntArray:
        return np.concatenate([self.ids_in.reshape(-1), self.ids_out.reshape(-1)])

    def add(self, t: Scaled, gradient: FloatArray, p: float) -> float:
        zero = len(gradient) // 2
        t_in, t_out = t[self.ids_in], t[self.ids_out]
        signal = self.power * np.exp(-2 * t_in)
        sums = signal.sum(1)
        logs = self.logs + t_in[:, None, :].astype(np.float32)
        if not self.per_channel:
            logs = logs - t_out[:, :, None].astype(np.float32)
        top = logs.max(2)
        powers = np.exp(np.float32(p) * (logs - top[:, :, None]))
        norms = powers.sum(2)
        if self.per_channel:
            steps = np.exp(2 * (top + np.log(norms) / p)) * self.weight
            rows = steps * sums[:, None]
        else:
            largest = top.max()
            norms = norms * np.exp(p * (top - largest))
            powers = powers * np.exp(np.float32(p) * (top - largest))[:, :, None]
            norm = norms.sum()
            step = np.exp(2 * (largest + np.log(norm) / p))
            rows = step * self.weight * np.exp(2 * t_out) * sums[:, None]
        factor = 1 / (12 * self.levels**2)
        whole = float(rows.sum())
        noise: float = whole * factor
        if self.per_channel:
            share = np.einsum("go,goi->gi", rows / norms, powers, optimize=False)
        else:
            share = whole * powers.sum(1) / norm
            through = whole * powers.sum(2) / norm
            np.add.at(gradient, zero + self.ids_out, 2 * factor * (rows - through))
        share = share - rows.sum(1)[:, None] * signal / np.maximum(sums, _SMALLEST)[:, None]
        np.add.at(gradient, zero + self.ids_in, 2 * factor * share)
        return noise
