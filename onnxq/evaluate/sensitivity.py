"""What each layer and each value costs when it alone is quantized: the error of the outputs, ranked.

    found = sensitivity(model, context, inserter)
    found.layers[0].node, found.layers[0].both.worst             # the worst layer, in dB

Everything is as insert-qdq would decide and calibrate it, but only one thing at a time is rounded:

    layer, weights       the constants that the node reads
    layer, activations   the values that the node reads, for this node alone (and the model's output it makes)
    layer, both          all of these
    value                the value, for all that read it

A node that reads nothing rounded (a Relu that the Conv before it takes in) is no layer of its own. Errors of
single roundings nearly add up in power: what stands at the top is where 16 bits or float help most.

Settings that round the same (a layer without weights, a value that one layer reads) are run once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter

import onnx_ir as ir

from onnxq.evaluate.bench import SAMPLES, Bench, Effect, Inserter
from onnxq.evaluate.piecewise import Setting
from onnxq.pipeline.context import Context
from onnxq.quant.plan import Plan, Role

__all__ = ["LayerEffect", "Sensitivity", "ValueEffect", "sensitivity"]


@dataclass(frozen=True)
class LayerEffect:
    """A node alone on integers; ``node`` is its first output, None stands for a part that it has not."""

    node: str
    op: str
    weights: Effect | None
    activations: Effect | None
    both: Effect


@dataclass(frozen=True)
class ValueEffect:
    """A value alone rounded; ``op`` is what makes it, ``input`` for an input of the model."""

    value: str
    op: str
    format: str
    effect: Effect


@dataclass(frozen=True)
class Sensitivity:
    """All layers and values, the most harmful first, and what they cost together."""

    target: str
    samples: int
    everything: Effect
    layers: tuple[LayerEffect, ...]
    values: tuple[ValueEffect, ...]
    measured: int
    """How many settings were run."""
    seconds: float


@dataclass(frozen=True)
class _Layer:
    node: str
    op: str
    weights: Setting
    activations: Setting

    @property
    def both(self) -> Setting:
        return self.weights | self.activations

    def effect(self, effects: Mapping[Setting, Effect], nothing: Effect) -> LayerEffect:
        weights, activations = effects.get(self.weights), effects.get(self.activations)
        return LayerEffect(self.node, self.op, weights, activations, effects.get(self.both, nothing))


def sensitivity(model: ir.Model, context: Context, inserter: Inserter, limit: int = SAMPLES) -> Sensitivity:
    """Measure a prepared float model, calibrated on all samples of ``context``, on ``limit`` of them.

    Raises:
        DataError: there are no samples, or they do not fit.
        ModelError, TargetError, UsageError: as insert-qdq would raise.
    """
    start = perf_counter()
    plan = inserter.plan(model, context)
    bench = Bench.of(model, context, inserter, [plan], limit)
    full = bench.setting(plan)
    layers = list(_layers(bench, plan, full))
    values = {d.value: _alone(full, d.value) for d in plan.values if d.role is Role.ACTIVATION}
    asked: list[Setting] = [full, *values.values()]
    for layer in layers:
        asked += [layer.weights, layer.activations, layer.both]
    distinct = list(dict.fromkeys(setting for setting in asked if setting.reads or setting.outputs))
    measured = bench.measure(distinct, None, context.progress, "sensitivity")
    effects = dict(zip(distinct, measured, strict=True))
    everything = effects.get(full) or Effect({})
    nothing = Effect({name: float("inf") for name in everything.outputs})
    of_layers = [layer.effect(effects, nothing) for layer in layers]
    makers = _makers(model)
    of_values = [
        ValueEffect(
            d.value, makers.get(d.value, "input"), str(d.format), effects.get(values[d.value], nothing)
        )
        for d in plan.values
        if d.role is Role.ACTIVATION
    ]
    return Sensitivity(
        plan.target,
        len(bench.samples),
        everything,
        tuple(sorted(of_layers, key=lambda layer: layer.both.worst)),
        tuple(sorted(of_values, key=lambda value: value.effect.worst)),
        len(distinct),
        perf_counter() - start,
    )


def _alone(full: Setting, name: str) -> Setting:
    """The roundings of one value, everywhere."""
    return Setting(
        {key: rounding for key, rounding in full.reads.items() if key[1] == name},
        {output: rounding for output, rounding in full.outputs.items() if output == name},
    )


def _layers(bench: Bench, plan: Plan, full: Setting) -> Iterator[_Layer]:
    constants = {d.value for d in plan.values if d.role in (Role.WEIGHT, Role.CONSTANT)}
    quantized = {node.node: node.op for node in plan.nodes if node.quantized}
    for piece in bench.runner.pieces:
        for node in piece.nodes:
            if node not in quantized:
                continue
            keys = [
                (piece.index, name)
                for name, readers in piece.readers.items()
                if node in readers and (piece.index, name) in full.reads
            ]
            weights = Setting({key: full.reads[key] for key in keys if key[1] in constants})
            outputs = {name: r for name, r in full.outputs.items() if name == node}
            reads = {key: full.reads[key] for key in keys if key[1] not in constants}
            if keys or outputs:
                yield _Layer(node, quantized[node], weights, Setting(reads, outputs))


def _makers(model: ir.Model) -> Mapping[str, str]:
    return {output.name: node.op_type for node in model.graph for output in node.outputs if output.name}
