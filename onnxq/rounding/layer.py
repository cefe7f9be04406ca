"""One layer: real weights worth rounding, a method that rounds them, and proof on rows it has not seen.

Before anything is rounded the weights move to where the layer, reading quantized inputs, comes closest to its
float outputs. How far they may move is a ridge, chosen on the held-back rows: with few rows hardly at all.

    m = argmin_w E(w) + λ |w − w₀|²,    ŵ = method(m; H + λI),    b = b₀ + mean y − ŵ · mean x

Each output then takes the best on the held-back rows of: nearest rounding of w₀ with the old bias, with the
new one, and ŵ with the new one. So none becomes worse than nearest rounding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from onnxq.graph.numeric import FloatArray
from onnxq.rounding.adaquant import adaquant
from onnxq.rounding.adaround import adaround
from onnxq.rounding.descent import descend
from onnxq.rounding.gptq import gptq
from onnxq.rounding.observed import Evidence
from onnxq.rounding.quadratic import Quadratic, Sums
from onnxq.rounding.rounded import Rounded
from onnxq.rounding.scales import can_narrow, narrowed
from onnxq.rounding.steps import Steps

__all__ = ["METHODS", "Freedom", "round_layer"]

Method = Callable[[FloatArray, FloatArray, Steps], FloatArray]


def _reconstruct(weights: FloatArray, h: FloatArray, steps: Steps) -> FloatArray:
    return descend(gptq(weights, h, steps), weights, h, steps)


METHODS: Mapping[str, Method] = MappingProxyType(
    {"gptq": gptq, "adaround": adaround, "adaquant": adaquant, "reconstruct": _reconstruct}
)
"""Each rounds real weights [groups, outputs, inputs] to whole steps so that (ŵ − w) H (ŵ − w)ᵀ is small."""

_RIDGES = (0.01, 0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Freedom:
    """What may change besides the rounding: real weights before it, the bias, the scales."""

    move: bool = True
    bias: bool = True
    scale: bool = True


@dataclass(frozen=True, eq=False)
class _Choice:
    weights: FloatArray
    scale: FloatArray
    shift: FloatArray


def round_layer(
    weights: FloatArray, evidence: Evidence[Sums], steps: Steps, method: Method, free: Freedom
) -> Rounded:
    """Round real weights [groups, outputs, inputs], float64."""
    learned, held = (sums.quadratic(centred=free.bias) for sums in (evidence.learned, evidence.held))
    ideal, ridge = _ideal(weights, learned, held) if free.move else (weights, _RIDGES[0])
    h = learned.damped(ridge)
    grid = narrowed(ideal, h, steps) if free.scale and can_narrow(steps) else steps
    nearest, made = steps.nearest(weights) * steps.scale, method(ideal, h, grid) * grid.scale
    choices = [
        _Choice(nearest, steps.scale, np.zeros(weights.shape[:2])),
        _Choice(made, grid.scale, evidence.learned.shift(made) * free.bias),
    ]
    if free.bias:
        choices.append(_Choice(nearest, steps.scale, evidence.learned.shift(nearest)))
    return _best(choices, evidence.held)


def _ideal(weights: FloatArray, learned: Quadratic, held: Quadratic) -> tuple[FloatArray, float]:
    best, least, chosen = weights, float(held.error(weights).sum()), _RIDGES[0]
    for ridge in _RIDGES:
        moved = learned.minimum(weights, ridge)
        if (error := float(held.error(moved).sum())) < least:
            best, least, chosen = moved, error, ridge
    return best, chosen


def _best(choices: list[_Choice], held: Sums) -> Rounded:
    """For each output the choice of least error; the first, which changes nothing, where it is as good."""
    quadratic = held.quadratic(centred=False)
    errors = np.stack(
        [quadratic.error(c.weights) - 2 * c.shift * held.shift(c.weights) + c.shift**2 for c in choices]
    )
    best = errors.argmin(axis=0)
    whole = best[:, :, None]
    return Rounded(
        np.choose(whole, [c.weights for c in choices]),
        np.choose(whole, [c.scale for c in choices]),
        np.choose(best, [c.shift for c in choices]),
        errors[0],
        errors.min(axis=0),
    )
