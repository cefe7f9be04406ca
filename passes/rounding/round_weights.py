"""Round weights so that the outputs of the layers, not the weights, come out right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir

from onnxq._version import __version__
from onnxq.calibration.fingerprint import fingerprint
from onnxq.errors import UsageError
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.pipeline.spec import Step
from onnxq.rounding.changes import write
from onnxq.rounding.checkpoint import Checkpoint
from onnxq.rounding.layer import Freedom
from onnxq.rounding.learning import Learned, Task, learn, nearest
from onnxq.rounding.regroup import regroup
from onnxq.rounding.rounded import Rounded
from onnxq.rounding.schedule import find_sites, need_samples
from onnxq.rounding.sites import Site
from onnxq.rounding.steps import Steps, steps_of
from onnxq.rounding.twin import mark_tuned

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
    ``group`` gives every so many inputs of a MatMul or Gemm a scale of their own, as blocked Q/DQ of opset
    21: for weights of few bits whose products are computed in float.

    Every fourth sample is held back, half of them to choose by, the others as proof (onnxq.rounding.split).
    An output channel keeps its new weights only if its error is smaller than by nearest rounding, and all of
    it only if the model's outputs are closer on the samples that are proof, by more than chance. Else it is
    tried again without the layers that take the outputs farther away, and if that is no better the model
    stays as it is. ``rows`` positions of each layer are looked at in all.

    Conv, Gemm and MatMul in the main graph, with a weight of their own; other weights are left to be
    rounded to nearest, and weights that lie on their grid already stay. The pass runs once: then the
    float weights are gone. With a checkpoint folder (``--checkpoints``) every layer is kept when it is done,
    and a run that was interrupted goes on from there to the same bytes.
    """

    name: ClassVar[str] = "round-weights"
    contract: ClassVar[Contract] = Contract.APPROXIMATE

    method: Literal["nearest", "adaround", "adaquant", "gptq", "reconstruct"] = "gptq"
    bits: int | None = None
    group: int | None = None
    move: bool = True
    bias: bool = True
    scale: bool = True
    rows: int = 8192

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        self.check(context)
        sites = self._sites(rw)
        if self.group is not None:
            regroup(sites, self.group, rw)
            sites = self._sites(Rewriter(rw.model))
        rough = {site: steps for site, steps in sites if not _on_grid(site, steps)}
        if not rough:
            return
        learned: Mapping[Site, Rounded] = {}
        if self.method != "nearest":
            found = self._learn(rough, rw.model, context)
            if not found.proved:
                rw.skip("the model", f"{self.method} brings its outputs no closer to the float model's")
                if self.bits is None:
                    return
            else:
                learned = found.layers
                for site in found.left:
                    rw.skip(site.node, f"{self.method} takes the model's outputs farther from the float ones")
        for site, steps in rough.items():
            write(site, learned.get(site) or nearest(site, steps), rw)
        if rw.edits:
            mark_tuned(rw.model, self.name)

    def _sites(self, rw: Rewriter) -> list[tuple[Site, Steps]]:
        return [(site, steps_of(site, self.bits)) for site in find_sites(rw)]

    def check(self, context: Context, /) -> None:
        if self.bits is not None and not 2 <= self.bits <= 8:
            raise UsageError(f"round-weights: bits is 2 … 8, not {self.bits}")
        if self.rows < 2:
            raise UsageError("round-weights: rows is at least 2")
        if self.group is not None and self.group < 2:
            raise UsageError(f"round-weights: a group has 2 inputs or more, not {self.group}")

    def _learn(self, rough: Mapping[Site, Steps], model: ir.Model, context: Context) -> Learned:
        samples = need_samples(context, self.name)
        identity = [__version__, str(Step(self)), str(context.seed)]
        if context.checkpoints is not None:
            identity += [fingerprint(model), samples.fingerprint(), str(len(samples))]
        checkpoint = Checkpoint.of(context.checkpoints, identity)
        free = Freedom(self.move, self.bias, self.scale)
        progress = context.progress
        return learn(
            Task(model, rough, self.method, free, self.rows, context.seed, samples, checkpoint, progress)
        )


def _on_grid(site: Site, steps: Steps) -> bool:
    return np.array_equal((steps.nearest(site.real) * steps.scale).astype(np.float32), site.real)
