"""From a graph, its plan and its statistics to the sources of noise that the scales can change."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.calibration.statistics import Statistic
from onnxq.graph.match import constant, is_float, rank
from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.quant.channel_scale.importance import importance, passed
from onnxq.quant.channel_scale.linear import Weight, read_weight
from onnxq.quant.channel_scale.noise import Term, ValueNoise, WeightNoise
from onnxq.quant.channel_scale.spread import Spread
from onnxq.quant.channel_scale.trace import Trace
from onnxq.quant.eligibility import Kind, kind
from onnxq.quant.formats import IntFormat
from onnxq.quant.placement import plan
from onnxq.quant.plan import Role, ValueDecision
from onnxq.targets.target import Target

__all__ = ["Observe", "Spreads", "measure", "terms"]

_ROWS = 256
"""Of a weight with one scale per output channel, at most about so many rows are looked at."""

_QUIET = 2.0**-8
"""Channels below one step of the widest are taken to be that wide: silence in the samples is no promise."""

Spreads: TypeAlias = Mapping[ir.Value, Spread]

Observe: TypeAlias = Callable[[ir.Model, Mapping[str, Statistic]], Mapping[str, Statistic]]
"""Fills one statistic per value name from the calibration samples: ``Context.observe``."""


def measure(model: ir.Model, trace: Trace, observe: Observe) -> Spreads:
    """Bounds and moments of every float value of the main graph, as finely as its scale could differ.

    Raises:
        DataError: there are no samples, or a value becomes NaN or infinite.
    """
    wanted = {
        value: Spread(trace.read(value).shape)
        for value in (*model.graph.inputs, *(output for node in model.graph for output in node.outputs))
        if is_float(value) and rank(value) is not None and value.name and constant(value) is None
    }
    seen = observe(model, {value.name or "": spread for value, spread in wanted.items()})
    found = {value: seen[value.name or ""] for value in wanted}
    return {value: spread for value, spread in found.items() if isinstance(spread, Spread) and spread.count}


def terms(model: ir.Model, trace: Trace, spreads: Spreads, target: Target) -> list[Term]:
    """Every rounding that the target's plan asks for and that depends on an unknown scale."""
    decisions = plan(model, target)
    weights = importance(model.graph, spreads)
    made = _Terms(trace, spreads, weights, target)
    values = {value.name: value for value in spreads}
    found: list[Term] = []
    for members in decisions.groups.values():
        group = [
            values[d.value]
            for d in members
            if d.role is Role.ACTIVATION and d.fixed is None and d.value in values
        ]
        found += made.of_values(list(dict.fromkeys(group)), members[0].format)
    for value in trace.inserted:
        found += made.of_inserted(value)
    rounded = {d.value: d for d in decisions.values if d.role is Role.WEIGHT}
    for node in model.graph:
        weight = read_weight(node)
        name = None if weight is None else node.inputs[weight.weight]
        if weight is not None and name is not None and (name.name or "") in rounded:
            found += made.of_weight(node, weight, rounded[name.name or ""])
    return found


class _Terms:
    def __init__(
        self, trace: Trace, spreads: Spreads, weights: Mapping[ir.Value, FloatArray], target: Target
    ) -> None:
        self._trace, self._spreads, self._weights, self._target = trace, spreads, weights, target

    def of_values(self, group: list[ir.Value], fmt: IntFormat) -> Iterator[Term]:
        """Values of one scale group; noise enters where codes are made, not where they are only moved."""
        if not any(value in self._trace.ids for value in group):
            return
        entering = [v for v in group if v in self._weights and not self._moved(v)]
        if entering:
            yield self._value(
                [(self._ids(v), self._spreads[v]) for v in group],
                [(self._ids(v), self._entering(v)) for v in entering],
                fmt,
            )

    def of_inserted(self, value: ir.Value) -> Iterator[Term]:
        """What the new Mul behind a value makes."""
        if value in self._weights:
            ids, spread = self._trace.inserted[value], self._spreads[value]
            yield self._value([(ids, spread)], [(ids, self._weights[value])], self._target.activation)

    def of_weight(self, node: ir.Node, weight: Weight, decision: ValueDecision) -> Iterator[Term]:
        x, y = node.inputs[weight.data], node.outputs[0]
        ids = self._trace.read(x), self._trace.of(y)
        if x is None or x not in self._spreads or y not in self._weights or not any(i.any() for i in ids):
            return
        groups, outputs, inputs, kernel = weight.matrix.shape
        per_channel = decision.axis is not None
        rows = slice(None, None, -(-outputs // _ROWS) if per_channel else 1)
        largest = np.abs(weight.matrix).max(3)[:, rows]
        if not largest.any():
            return
        matter = _spread_over(self._weights[y], groups, outputs)[:, rows]
        yield WeightNoise(
            np.log(np.maximum(largest, largest.max() * 1e-6)).astype(np.float32),
            _spread_over(ids[0], groups, inputs),
            _spread_over(ids[1], groups, outputs)[:, rows],
            _spread_over(self._spreads[x].mean_square, groups, inputs) * kernel,
            matter / matter.size,
            float(decision.format.qmax),
            per_channel,
        )

    def _ids(self, value: ir.Value) -> IntArray:
        return np.broadcast_to(self._trace.of(value), self._spreads[value].shape)

    def _moved(self, value: ir.Value) -> bool:
        maker = value.producer()
        return maker is not None and kind(maker, self._target) is Kind.MOVE

    def _entering(self, value: ir.Value) -> FloatArray:
        weight, through = self._weights[value], passed(value.producer(), self._spreads)
        return weight if through is None else weight * np.broadcast_to(through, weight.shape)

    @staticmethod
    def _value(
        span: list[tuple[IntArray, Spread]], entering: list[tuple[IntArray, FloatArray]], fmt: IntFormat
    ) -> ValueNoise:
        high = np.concatenate([np.maximum(spread.max, 0).reshape(-1) for _, spread in span])
        low = np.concatenate([np.maximum(-spread.min, 0).reshape(-1) for _, spread in span])
        quiet = max(high.max(), low.max(), 1e-30) * _QUIET
        silent = np.maximum(high, low) < quiet
        return ValueNoise(
            np.concatenate([ids.reshape(-1) for ids, _ in span]),
            np.log(np.maximum(high, np.where(silent, quiet, quiet * 1e-4))),
            np.log(np.maximum(low, quiet * 1e-4)),
            np.concatenate([ids.reshape(-1) for ids, _ in entering]),
            np.concatenate([(weight / weight.size).reshape(-1) for _, weight in entering]),
            float(fmt.qmax - fmt.qmin),
        )


def _spread_over(array: Array, groups: int, channels: int) -> Array:
    """One entry a channel, as [groups, channels]."""
    return np.broadcast_to(array.reshape(-1), (groups * channels,)).reshape(groups, channels)
