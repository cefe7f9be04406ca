"""Correct the mean of each layer's outputs through its bias."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.errors import UsageError
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.rounding.biases import has_bias, shift_bias
from onnxq.rounding.observed import Evidence, Observer
from onnxq.rounding.output_error import OutputError, closer
from onnxq.rounding.quadratic import Means
from onnxq.rounding.schedule import find_sites, need_samples, plan_schedule
from onnxq.rounding.sites import Site
from onnxq.rounding.split import chooses, proves
from onnxq.rounding.steps import steps_of
from onnxq.rounding.twin import float_twin, mark_tuned

__all__ = ["CorrectBias"]


@dataclass(frozen=True)
class CorrectBias(Pass):
    """Shift biases so that each channel's mean is that of the float model.

           b' = b + mean (W x) − mean (Ŵ x̂)

    x: what the layer reads in the float model (the same graph without its Q/DQ pairs). x̂: what it reads
    behind the quantized layers before it, which are corrected by then. Ŵ: its rounded weights.

    Done blindly this ruins models. Every fourth sample is held back, half of them to choose by, the others as
    proof (onnxq.rounding.split): a channel is shifted only if its output error falls. Of two ways, one that
    keeps all such shifts and one that keeps a layer's only if the error of the model's outputs falls at once,
    the one that ends with the smaller error is taken; none unless the outputs are closer on the samples that
    are proof, by more than chance. With fewer than four samples half of the positions are held back.

    Conv, Gemm, and MatMul with an Add behind it, in the main graph, with a fake-quantized weight each.
    The pass runs once: then the float biases are gone. round-weights corrects biases itself.
    """

    name: ClassVar[str] = "correct-bias"
    contract: ClassVar[Contract] = Contract.APPROXIMATE

    rows: int = 16384

    def check(self, context: Context, /) -> None:
        if self.rows < 2:
            raise UsageError("correct-bias: rows is at least 2")

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        self.check(context)
        sites = [site for site in find_sites(rw) if has_bias(site.node, site.outputs)]
        if not sites:
            return
        samples = need_samples(context, self.name)
        twin = float_twin(rw.model)
        error, proof = (OutputError(rw.model, twin, samples, part) for part in (chooses, proves))
        trials = [self._try(rw.model, error, at_once, samples, context) for at_once in (False, True)]
        best = min(trials, key=lambda trial: trial.error)
        if not closer(proof.of(best.model), proof.of(rw.model)):
            rw.skip("the model", "no correction brings its outputs closer to those of the float model")
            return
        for node, shift in best.shifts.items():
            shift_bias(node, shift, rw)
        if rw.edits:
            mark_tuned(rw.model, self.name)

    def _try(
        self, model: ir.Model, error: OutputError, at_once: bool, samples: Samples, context: Context
    ) -> "_Trial":
        """Correct a copy, layer by layer; ``at_once`` the outputs of the model have to gain by each round."""
        copy = model.clone()
        originals = dict(zip(all_nodes(copy), all_nodes(model), strict=True))
        rw = Rewriter(copy)
        sites = [site for site in find_sites(rw) if has_bias(site.node, site.outputs)]
        schedule = plan_schedule(copy, sites)
        observer = Observer(Means, copy, float_twin(copy), schedule.layers, samples, self.rows, context.seed)
        trial = _Trial(copy, error.of(copy).sum())
        for orders in schedule.rounds:
            nodes = [schedule.layers[order].node for order in orders]
            found = map(_shift, (schedule.layers[order] for order in orders), observer.evidence(orders))
            shifts = dict(zip(nodes, found, strict=True))
            for node, shift in shifts.items():
                shift_bias(node, shift, rw)
            context.progress("correcting biases", orders.stop, len(schedule.layers))
            now = float(error.of(copy).sum()) if at_once else trial.error
            if now > trial.error:
                for node, shift in shifts.items():
                    shift_bias(node, -shift, rw)
                continue
            trial.error = now
            trial.shifts.update({originals[node]: shift for node, shift in shifts.items()})
        return trial if at_once else replace(trial, error=error.of(copy).sum())


@dataclass
class _Trial:
    """A corrected copy, the error of its outputs, and what each bias has gained."""

    model: ir.Model
    error: float
    shifts: dict[ir.Node, FloatArray] = field(default_factory=dict)


def _shift(site: Site, evidence: Evidence[Means]) -> FloatArray:
    """The shift of every channel whose held-back error falls: (d − δ)² < d², d being its held-back shift."""
    steps = steps_of(site, None)
    weights = steps.nearest(site.matrices(site.weight).astype(np.float64)) * steps.scale
    learned, held = (means.shift(weights).reshape(-1) for means in (evidence.learned, evidence.held))
    return np.where(np.abs(held - learned) < np.abs(held), learned, 0.0)
