"""Scaling a graph by random numbers: what must not change its outputs, whatever the scales are."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.context import Context
from onnxq.quant.channel_scale.apply import apply
from onnxq.quant.channel_scale.decide import Scaling
from onnxq.quant.channel_scale.noise import Scaled
from onnxq.quant.channel_scale.trace import Rules, Trace, trace

ScaleRandomly = Callable[..., tuple[Trace, ir.Model]]


@pytest.fixture
def scale_randomly() -> ScaleRandomly:
    """``scale_randomly(model, rules, insert)``: what can be scaled, and the model scaled at random."""

    def run(
        model: ir.Model, rules: Rules | None = None, insert: tuple[str, ...] = ()
    ) -> tuple[Trace, ir.Model]:
        chosen = rules or Rules()
        model = InferShapes().run(model.clone(), Context()).model
        found = trace(model.graph, chosen, insert)
        table = Scaled(np.random.default_rng(0).uniform(-1.4, 1.4, found.count))
        scales, inserted = (
            {value: np.exp(table[ids]) for value, ids in some.items()} for some in (found.ids, found.inserted)
        )
        rw = Rewriter(model)
        apply(Scaling(chosen, scales, inserted, (0.0, 0.0)), rw)
        rw.finish()
        return found, model

    return run
