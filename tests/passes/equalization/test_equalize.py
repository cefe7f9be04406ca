"""equalize: through gates and bounds, how much it wins on unequal channels, and where it stays away."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.api import load_samples
from onnxq.evaluate.metrics import sqnr_db
from onnxq.graph.numeric import Array
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

WEIGHTS = "float[8,3,3,3] A, float[8] a, float[8,1,3,3] D, float[8] d, float[5,8,1,1] B"
NET = f"""g (float[1,3,16,16] x) => (float[1,5,16,16] y) <{WEIGHTS}> {{
    c = Conv <pads = [1,1,1,1]> (x, A, a) e = ACTIVATION
    f = Conv <pads = [1,1,1,1], group = 8> (e, D, d) h = Relu (f) y = Conv (h, B)
}}"""
UNEQUAL = np.array([40.0, 0.05, 1, 0.02, 3, 0.5, 20, 0.1])


def _net(onnx_text: Text, activation: str) -> ir.Model:
    """Channels of very unequal width that all matter alike."""
    model = onnx_text(NET.replace("ACTIVATION", activation), 24)
    shape = (-1, 1, 1, 1)
    for name, factor in (("A", UNEQUAL), ("D", 1 / UNEQUAL)):
        array = model.graph.initializers[name].const_value
        assert array is not None
        model.graph.initializers[name].const_value = ir.tensor(
            (array.numpy() * factor.reshape(shape)).astype(np.float32)
        )
    return model


def _context(model: ir.Model) -> Context:
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(8)]
    return Context(samples=load_samples(model, samples))


def _sqnr(model: ir.Model, pipeline: str, context: Context) -> float:
    assert context.samples is not None
    made = run_pipeline(
        model.clone(), parse(f"infer-shapes, {pipeline}, expand-new-operators"), context
    ).model
    plain = run_pipeline(model.clone(), parse("expand-new-operators"), context).model
    was, now = (_outputs(one, context) for one in (plain, made))
    return sqnr_db(was, now)


def _outputs(model: ir.Model, context: Context) -> Array:
    assert context.samples is not None
    session = Session(model, optimize=False)
    return np.concatenate([session.run(sample.feeds)["y"] for sample in context.samples])


@pytest.mark.parametrize(("activation", "gain"), [("Relu (c)", 12), ("Swish (c)", 6), ("HardSwish (c)", 6)])
def test_unequal_channels_are_made_equal(activation: str, gain: float, onnx_text: Text) -> None:
    model = _net(onnx_text, activation)
    context = _context(model)
    before, after = (_sqnr(model, p, context) for p in ("insert-qdq", "equalize, insert-qdq"))
    assert after > before + gain, (before, after)


def test_bounds_per_channel_rescue_weights_with_one_scale(onnx_text: Text) -> None:
    """Relu6 makes the values alike and leaves the weights unequal: they meet in between."""
    model = onnx_text(
        NET.replace(
            "e = ACTIVATION",
            """low = Constant <value_float = 0.0> () high = Constant <value_float = 6.0> () e = Clip (c,
            low, high)""",
        )
    )
    scaled = model.graph.initializers["D"].const_value
    assert scaled is not None
    model.graph.initializers["D"].const_value = ir.tensor(
        (scaled.numpy() * UNEQUAL.reshape(-1, 1, 1, 1)).astype(np.float32)
    )
    last = model.graph.initializers["B"].const_value
    assert last is not None
    model.graph.initializers["B"].const_value = ir.tensor(
        (last.numpy() / UNEQUAL.reshape(1, -1, 1, 1)).astype(np.float32)
    )
    context, insert = _context(model), "insert-qdq{per_channel=false}"
    before, after = (_sqnr(model, p, context) for p in (insert, f"equalize{{per_channel=false}}, {insert}"))
    assert after > before + 6, (before, after)


def test_a_gate_reads_the_true_value(rewrite: Rewrite, onnx_text: Text) -> None:
    text = """g (float[1,3,8,8] x) => (float[1,2,8,8] y) <float[4,3,1,1] A, float[2,4,1,1] B> {
        c = Conv (x, A) d = Swish (c) y = Conv (d, B) }"""
    after = """g (float[1,3,8,8] x) => (float[1,2,8,8] y)
        <float[4,3,1,1] A, float[2,4,1,1] B, float[4,1,1,1] s, float low = {-16.0}, float high = {16.0}> {
        c = Conv (x, A) t = Conv <group = 4> (c, s) k = Clip (t, low, high) g = Sigmoid (k) d = Mul (c, g) y
        = Conv (d, B) }"""
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(8)]
    context = Context(samples=load_samples(onnx_text(text, 24), samples))
    expand = "expand-new-operators{opset=23}"
    rewrite(f"equalize{{alpha=0.5}}, {expand}", text, after, types=True, context=context, opset=24, rtol=None)
    without = rewrite(
        "equalize{alpha=0.5 gates=()}", text, None, types=True, context=context, opset=24, rtol=None
    )
    assert "no scale would lower" in without.skips[0].reason


def test_benign_channels_are_left_alone(onnx_text: Text) -> None:
    model = onnx_text(NET.replace("ACTIVATION", "Relu (c)"))
    report = run_pipeline(model, parse("infer-shapes, equalize"), _context(model))
    assert report.steps[-1].edits == 0
