"""Models with one layer that 8 bits ruin, and samples for them."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.data.source import open_samples
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.context import Context
from onnxq.targets.target import load_target

__all__ = ["PLANTED", "Text", "context", "planted", "samples"]

Text = Callable[..., ir.Model]

PLANTED = """g (float[N,8] x) => (float[N,8] y)
    <float[8,8] A, float[8,8] B, float[8,8] C,
     float[8] up = {3000, 1, 1, 1, 1, 1, 1, 1}, float[8] down = {0.001, 1, 1, 1, 1, 1, 1, 1}> {
    a = MatMul (x, A)
    ruin = Mul (a, up)
    back = Mul (ruin, down)
    r = Relu (back)
    b = MatMul (r, B)
    s = Relu (b)
    y = MatMul (s, C)
}"""
"""``ruin`` has one channel 3000 times as large as the others: at 8 bits these vanish, at 16 they do not."""


def planted(onnx_text: Text) -> ir.Model:
    """The model with its types, as prepare would leave it."""
    return InferShapes().run(onnx_text(PLANTED), Context()).model


def samples(count: int = 8) -> Samples:
    rng = np.random.default_rng(0)
    return open_samples([{"x": rng.normal(size=(4, 8)).astype(np.float32)} for _ in range(count)], [])


def context(target: str = "generic-int8") -> Context:
    return Context(load_target(target), samples())
