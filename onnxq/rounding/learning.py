"""Rounding the layers of a model one after the other, each behind those that are done.

    learned = learn(Task(model, rough, "gptq", free, rows, seed, samples, checkpoint, progress))

What all layers gain together is proved on samples that nothing was chosen by. Where it is not, it is tried
once more, and a round of layers is rounded to nearest again if it takes the outputs of the model farther from
those of the float model, by more than chance, on samples that nothing was learned from. Not so at once: while
the layers to come have few bits and are rounded to nearest, the outputs do not tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.context import Progress
from onnxq.rounding.biases import has_bias
from onnxq.rounding.changes import inputs_of, restore, write
from onnxq.rounding.checkpoint import Checkpoint
from onnxq.rounding.layer import METHODS, Freedom, round_layer
from onnxq.rounding.observed import Evidence, Observer
from onnxq.rounding.output_error import OutputError, change, closer
from onnxq.rounding.quadratic import Sums
from onnxq.rounding.rounded import Rounded
from onnxq.rounding.schedule import Schedule, plan_schedule
from onnxq.rounding.sites import Site
from onnxq.rounding.skips import find_skip
from onnxq.rounding.split import chooses, proves
from onnxq.rounding.steps import Steps
from onnxq.rounding.twin import float_twin

__all__ = ["Learned", "Task", "learn", "nearest"]


@dataclass(frozen=True, eq=False)
class Task:
    """What is rounded, how, and from what; the fake-quantized ``model`` is not changed.

    ``rough`` has the layers and their grids. Every layer learns from ``rows`` rows of its input.
    """

    model: ir.Model
    rough: Mapping[Site, Steps]
    method: str
    free: Freedom
    rows: int
    seed: int
    samples: Samples
    checkpoint: Checkpoint
    progress: Progress


@dataclass(frozen=True)
class Learned:
    """New parameters of the layers that keep them, and those that are better rounded to nearest.

    ``proved``: whether the model is better with them on samples that nothing was chosen by.
    """

    layers: Mapping[Site, Rounded]
    left: Sequence[Site]
    proved: bool


def learn(task: Task) -> Learned:
    """Round the layers of a task.

    Raises:
        DataError: the samples do not fit the model.
    """
    for picky in (False, True):
        found = _Learning(task, picky=picky).all()
        if found.proved:
            break
    return found


class _Learning:
    """One try. A picky one asks after each round whether the outputs of the model came closer."""

    def __init__(self, task: Task, *, picky: bool) -> None:
        self.task, self.picky = task, picky
        self.twin, self.trial = float_twin(task.model), task.model.clone()
        self.copies = dict(zip(all_nodes(task.model), all_nodes(self.trial), strict=True))
        self.edits = Rewriter(self.trial)
        self.schedule = plan_schedule(task.model, list(task.rough))
        skips = _skips(self.schedule) if task.method == "reconstruct" else {}
        self.observer = Observer(
            Sums, self.trial, self.twin, self.schedule.layers, task.samples, task.rows, task.seed, skips
        )

    def all(self) -> Learned:
        for site, steps in self.task.rough.items():
            write(self.copy(site), nearest(site, steps), self.edits)
        error, proof = (
            OutputError(self.task.model, self.twin, self.task.samples, part) for part in (chooses, proves)
        )
        now, start = error.of(self.trial), proof.of(self.trial)
        made: dict[Site, Rounded] = {}
        left: list[Site] = []
        for orders in self.schedule.rounds:
            found = self.round(orders)
            before = [place for site in found for place in inputs_of(self.copy(site))]
            for site, rounded in found.items():
                write(self.copy(site), rounded, self.edits)
            then = error.of(self.trial) if self.picky else now
            mean, spread = change(then, now)
            if mean <= spread:
                made, now = made | found, then
                continue
            restore(before, self.edits)
            left += found
        return Learned(made, left, closer(proof.of(self.trial), start))

    def round(self, orders: range) -> dict[Site, Rounded]:
        """The layers of a round, those that a checkpoint has as it has them."""
        sites = [self.schedule.layers[order] for order in orders]
        first = len(self.schedule.layers) if self.picky else 0
        found = {
            order: self.task.checkpoint.layer(first + order, site.matrices(site.weight).shape)
            for order, site in zip(orders, sites, strict=True)
        }
        some: Sequence[Evidence[Sums] | None] = [None] * len(orders)
        if any(rounded is None for rounded in found.values()):
            some = self.observer.evidence(orders)
        made: dict[Site, Rounded] = {}
        for order, site, evidence in zip(orders, sites, some, strict=True):
            rounded = found[order]
            if rounded is None and evidence is not None:
                rounded = self.layer(site, evidence)
                self.task.checkpoint.keep(first + order, rounded)
            if rounded is not None:
                made[site] = rounded
            self.task.progress("rounding weights", order + 1, len(self.schedule.layers))
        return made

    def layer(self, site: Site, evidence: Evidence[Sums]) -> Rounded:
        wished = self.task.free
        bias = wished.bias and has_bias(site.node, site.outputs)
        one = site.qparams.axis is not None and site.qparams.block is None
        free = replace(wished, bias=bias, scale=wished.scale and one)
        return round_layer(site.real, evidence, self.task.rough[site], METHODS[self.task.method], free)

    def copy(self, site: Site) -> Site:
        """The layer of the trial."""
        return replace(site, node=self.copies[site.node], quantize=self.copies[site.quantize])


def nearest(site: Site, steps: Steps) -> Rounded:
    """Every weight to the nearest step; nothing is measured."""
    none = np.zeros(site.real.shape[:2])
    return Rounded(steps.nearest(site.real) * steps.scale, steps.scale, none, none, none)


def _skips(schedule: Schedule) -> dict[Site, tuple[ir.Node, int]]:
    found = ((site, find_skip(site, schedule.depth)) for site in schedule.layers)
    return {site: place for site, place in found if place is not None}
