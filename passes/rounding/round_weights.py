"""Round weights so that the outputs of the layers, not the weights, come out right."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir

from onnxq.errors import UsageError
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.rounding.biases import has_bias, shift_bias
from onnxq.rounding.changes import set_scale, set_weight
from onnxq.rounding.layer import METHODS, Freedom, Rounded, round_layer
from onnxq.rounding.observed import Evidence, Observer
from onnxq.rounding.output_error import OutputError
from onnxq.rounding.quadratic import Sums
from onnxq.rounding.schedule import Schedule, find_sites, need_samples, plan_schedule
from onnxq.rounding.sites import Site
from onnxq.rounding.skips import find_skip
from onnxq.rounding.steps import Steps, steps_of
from onnxq.rounding.twin import float_twin, mark_tuned

__all__ = ["RoundWeights"]


@dataclass(frozen=True)
class RoundWeights(Pass):
    """Round the weights in front of Q/DQ pairs so that each layer gives what it gives in the float model.

           W → QuantizeLinear  =>  Ŵ → QuantizeLinear      with Ŵ = s · whole steps

           Ŵ, b' = argmin E |y − (Ŵ x̂ + b')|²

    y: the layer's output in the float model (the same graph without its pairs). x̂: its input behind the
    layers before it as they are quantized and rounded by then. ``method`` is how it is minimised:

    - ``nearest``: not at all; every weight to the nearest step. The others learn from calibration samples.
    - ``gptq``: each weight's rounding error is made up for by those not rounded yet (arXiv 2210.17323).
    - ``adaround``: up or down is learned for each weight (arXiv 2004.10568). Slow.
    - ``adaquant``: weights are learned through the rounding (arXiv 2006.10518). Slow.
    - ``reconstruct``: gptq, then each weight in turn takes its best step until none can (arXiv 2309.01885);
      a layer in front of a residual sum learns the sum, with the float model as teacher.

    ``move`` lets the real weights first move to where the layer is closest to y given x̂; ``bias`` lets the
    bias change; ``scale`` lets per-channel scales become smaller where clipping pays (not if all are powers
    of two). ``bits`` is the number of bits of the codes, by default as many as nearest rounding uses.

    Every fourth sample is held back. An output channel keeps its new weights only if its error there is
    smaller than by nearest rounding, and if the outputs of the model end farther away there than by nearest
    rounding, all is rounded to nearest. ``rows`` positions of each layer are looked at in all.

    Conv, Gemm and MatMul in the main graph, with a weight of their own; other weights are left to be
    rounded to nearest, and weights that lie on their grid already stay. The pass runs once: then the
    float weights are gone. An interrupted run starts afresh.
    """

    name: ClassVar[str] = "round-weights"
    contract: ClassVar[Contract] = Contract.APPROXIMATE

    method: Literal["nearest", "adaround", "adaquant", "gptq", "reconstruct"] = "gptq"
    bits: int | None = None
    move: bool = True
    bias: bool = True
    scale: bool = True
    rows: int = 8192

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        self._check()
        sites = [(site, steps_of(site, self.bits)) for site in find_sites(rw)]
        rough = {site: steps for site, steps in sites if not _on_grid(site, steps)}
        if not rough:
            return
        learned = {} if self.method == "nearest" else self._learn(rough, rw, context)
        for site, steps in rough.items():
            _write(site, learned.get(site) or _nearest(site, steps), rw)
        if rw.edits:
            mark_tuned(rw.model, self.name)

    def _check(self) -> None:
        if self.bits is not None and not 2 <= self.bits <= 8:
            raise UsageError(f"round-weights: bits is 2 … 8, not {self.bits}")
        if self.rows < 2:
            raise UsageError("round-weights: rows is at least 2")

    def _learn(self, rough: dict[Site, Steps], rw: Rewriter, context: Context) -> dict[Site, Rounded]:
        """New parameters for the layers; none if they would take the model's outputs farther away."""
        samples, twin = need_samples(context, self.name), float_twin(rw.model)
        schedule = plan_schedule(rw.model, list(rough))
        skips = _skips(schedule) if self.method == "reconstruct" else {}
        trial = rw.model.clone()
        copies = dict(zip(all_nodes(rw.model), all_nodes(trial), strict=True))
        observer = Observer(Sums, trial, twin, schedule.layers, samples, self.rows, context.seed, skips)
        edits, made = Rewriter(trial), {}
        for orders in schedule.rounds:
            for order, evidence in zip(orders, observer.evidence(orders), strict=True):
                site = schedule.layers[order]
                made[site] = self._round(site, rough[site], evidence)
                copy = replace(site, node=copies[site.node], quantize=copies[site.quantize])
                _write(copy, made[site], edits)
                context.progress("rounding weights", order + 1, len(schedule.layers))
        error = OutputError(twin.model, samples)
        if error.of(trial) <= error.of(rw.model):
            return made
        rw.skip(
            "the model", f"{self.method} takes its outputs farther from the float model's than nearest does"
        )
        return {}

    def _round(self, site: Site, steps: Steps, evidence: Evidence[Sums]) -> Rounded:
        bias = self.bias and has_bias(site.node, site.outputs)
        free = Freedom(self.move, bias, self.scale and site.qparams.axis is not None)
        return round_layer(_real(site), evidence, steps, METHODS[self.method], free)


def _nearest(site: Site, steps: Steps) -> Rounded:
    """Every weight to the nearest step; nothing is measured."""
    none = np.zeros(_real(site).shape[:2])
    return Rounded(steps.nearest(_real(site)) * steps.scale, steps.scale, none, none, none)


def _write(site: Site, rounded: Rounded, rw: Rewriter) -> None:
    set_weight(site, rounded.weights, rw)
    set_scale(site, rounded.scale, rw)
    if rounded.shift.any():
        shift_bias(site.node, rounded.shift.reshape(-1), rw)


def _real(site: Site) -> np.ndarray:
    return site.matrices(site.weight).astype(np.float64)


def _on_grid(site: Site, steps: Steps) -> bool:
    weights = _real(site)
    return np.array_equal((steps.nearest(weights) * steps.scale).astype(np.float32), weights)


def _skips(schedule: Schedule) -> dict[Site, tuple[ir.Node, int]]:
    found = ((site, find_skip(site, schedule.depth)) for site in schedule.layers)
    return {site: place for site, place in found if place is not None}
