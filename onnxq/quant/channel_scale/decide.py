"""Which scale every channel gets: trace, measure, choose. The result is data; ``apply`` carries it out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.numeric import Array, FloatArray
from onnxq.quant.channel_scale.closed_form import closed_form
from onnxq.quant.channel_scale.linear import read_weight
from onnxq.quant.channel_scale.noise import Scaled, Term, total
from onnxq.quant.channel_scale.solve import SHARPEST, least_noise
from onnxq.quant.channel_scale.terms import Observe, measure, terms
from onnxq.quant.channel_scale.trace import Rules, Trace, trace
from onnxq.targets.target import Target

__all__ = ["Choice", "Scaling", "decide"]


@dataclass(frozen=True)
class Choice:
    """What to scale and how.

    ``linear`` names the operators whose inputs are to become easier to round; ``insert`` those that may get a
    second normalization, or with ``mul`` a Mul, in front. ``alpha`` is the exponent of the closed form, None
    for least noise. Blocks of channels that would gain less than ``gain`` dB are left alone.
    """

    linear: frozenset[str]
    insert: frozenset[str] = frozenset()
    mul: bool = False
    rules: Rules = field(default_factory=Rules)
    alpha: float | None = None
    gain: float = 3.0


@dataclass(frozen=True, eq=False)
class Scaling:
    """The decision: x' = x / scale for every value; ``noise`` is the model's estimate before and after.

    ``inserted`` are the scales that a new Mul takes out of a value, for its linear readers only.
    """

    rules: Rules
    scales: Mapping[ir.Value, FloatArray]
    inserted: Mapping[ir.Value, FloatArray]
    noise: tuple[float, float]

    @property
    def gain(self) -> float:
        """The estimated gain in dB."""
        before, after = self.noise
        return 10 * float(np.log10(before / after)) if before > 0 and after > 0 else 0.0


def decide(model: ir.Model, observe: Observe, target: Target, choice: Choice) -> Scaling:
    """Choose the scales of a model's main graph from calibration samples.

    Raises:
        DataError: there are no samples, or a value becomes NaN or infinite.
    """
    found = trace(model.graph, choice.rules, choice.insert, mul=choice.mul)
    found = found.only(_wanted(model.graph, found, choice.linear))
    if not found.count:
        return Scaling(choice.rules, {}, {}, (0.0, 0.0))
    spreads = measure(model, found, observe)
    sources = terms(model, found, spreads, target)
    if choice.alpha is not None:
        t = closed_form(model.graph, found, spreads, choice.alpha, choice.linear)
        return _scaling(choice, found, t, sources, np.zeros(found.count))
    start = np.zeros(found.count)
    t = least_noise(sources, found.count)
    kept = _worthwhile(found, sources, t, choice.gain)
    if kept.all() or not kept.any():
        return _scaling(choice, found, np.where(kept, t, 0.0), sources, start)
    found = found.only(kept)
    sources = terms(model, found, spreads, target)
    return _scaling(choice, found, least_noise(sources, found.count), sources, start[kept])


def _wanted(graph: ir.Graph, found: Trace, linear: Collection[str]) -> Array:
    """bool [count]: the unknowns of what the chosen operators read, and of products of two activations."""
    wanted = np.zeros(found.count + 1, bool)
    for node in graph:
        if not is_op(node, *linear):
            continue
        weight = read_weight(node)
        for value in node.inputs if weight is None else (node.inputs[weight.data],):
            wanted[np.abs(found.read(value))] = True
    return wanted[1:]


def _worthwhile(found: Trace, sources: Sequence[Term], t: FloatArray, gain: float) -> Array:
    """bool [count]: the unknowns of blocks without which the noise around them would be ``gain`` dB higher.

    A block is what one value after the other connects: it is scaled as a whole or not at all.
    """
    blocks = _blocks(found)
    near: dict[int, list[Term]] = {}
    for term in sources:
        for block in np.unique(blocks[np.abs(term.ids[term.ids != 0]) - 1]):
            near.setdefault(int(block), []).append(term)
    kept = np.zeros(found.count, bool)
    for block, some in near.items():
        members = blocks == block
        before = total(some, np.where(members, 0.0, t), SHARPEST)[0]
        after = total(some, t, SHARPEST)[0]
        kept |= members & (before > after * 10 ** (gain / 10))
    return kept


def _blocks(found: Trace) -> Array:
    """int64 [count]: the block of every unknown, named by its smallest member."""
    labels = np.arange(found.count + 1)
    groups = [np.unique(np.abs(ids[ids != 0])) for ids in (*found.ids.values(), *found.inserted.values())]
    while True:
        before = labels.copy()
        for group in groups:
            labels[group] = labels[labels[group]].min()
        if np.array_equal(labels, before):
            return labels[1:]


_NOTHING = 1e-4
"""Logarithms below this are no scale: what a first run has scaled, a second one leaves alone."""


def _scaling(
    choice: Choice, found: Trace, t: FloatArray, sources: Sequence[Term], start: FloatArray
) -> Scaling:
    table = Scaled(np.where(np.abs(t) < _NOTHING, 0.0, t))
    scales, inserted = (
        {value: np.exp(table[ids]) for value, ids in given.items() if table[ids].any()}
        for given in (found.ids, found.inserted)
    )
    noise = total(sources, start, SHARPEST)[0], total(sources, t, SHARPEST)[0]
    return Scaling(choice.rules, scales, inserted, noise)
