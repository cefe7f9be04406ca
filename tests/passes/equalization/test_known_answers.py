"""Outliers made by hand, for which the best scale or shift is known in closed form."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.api import load_samples
from onnxq.evaluate.metrics import sqnr_db
from onnxq.graph.match import constant
from onnxq.graph.numeric import Array, FloatArray
from onnxq.pipeline.check import CheckEach
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

CHANNELS, ROWS = 16, 64
NORM = f"""g (float[{ROWS},{CHANNELS}] x) => (float[{ROWS},8] y)
    <float[{CHANNELS}] gain, float[{CHANNELS}] offset, float[{CHANNELS},8] W> {{
    n = LayerNormalization (x, gain, offset) y = MatMul (n, W) }}"""
RELU = """g (float[1,3,8,8] x) => (float[1,5,8,8] y) <float[4,3,1,1] A, float[4] a, float[5,4,1,1] B> {
    c = Conv (x, A, a) r = Relu (c) y = Conv (r, B) }"""


def _model(text: str, onnx_text: Text, **arrays: Array) -> ir.Model:
    model = onnx_text(text)
    for name, array in arrays.items():
        model.graph.initializers[name].const_value = ir.tensor(np.asarray(array, np.float32))
    return model


def _context(model: ir.Model, count: int = 8) -> Context:
    rng, (port,) = np.random.default_rng(0), model.graph.inputs
    assert port.shape is not None
    drawn = [rng.standard_normal(port.shape.numpy()).astype(np.float32) for _ in range(count)]
    return Context(samples=load_samples(model, [{"x": x} for x in drawn]))


def _after(model: ir.Model, pipeline: str) -> ir.Model:
    return run_pipeline(model.clone(), parse(f"infer-shapes, {pipeline}"), _context(model)).model


def _sqnr(model: ir.Model, pipeline: str) -> float:
    context = _context(model)
    assert context.samples is not None
    sessions = [Session(m, optimize=False) for m in (model, _after(model, pipeline))]
    was, now = (np.concatenate([s.run(one.feeds)["y"] for one in context.samples]) for s in sessions)
    return sqnr_db(was, now)


def _of(model: ir.Model, op: str, index: int) -> FloatArray:
    found = constant(next(node for node in model.graph if node.op_type == op).inputs[index])
    assert found is not None
    return found


def _signs(*shape: int) -> Array:
    return np.random.default_rng(1).choice([-1.0, 1.0], shape)


@pytest.mark.parametrize("alpha", ["0.5", "auto"])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_planted_factor_is_found_and_undone(alpha: str, factor: float, onnx_text: Text) -> None:
    """All channels alike but one: X_3 · f and W_3 / f have the one best ratio s_3 / s_j = f."""
    planted = np.ones(CHANNELS)
    planted[3] = factor
    weight = _signs(CHANNELS, 8) / planted[:, None]
    model = _model(NORM, onnx_text, gain=planted, offset=np.zeros(CHANNELS), W=weight)
    made = _after(model, f"smooth{{alpha={alpha}}}")
    s = _of(model, "LayerNormalization", 1) / _of(made, "LayerNormalization", 1)
    np.testing.assert_allclose(s[3] / np.delete(s, 3), factor, rtol=0.15)
    np.testing.assert_allclose(_of(made, "MatMul", 1) / weight, np.outer(s, np.ones(8)), rtol=1e-4)


def test_factors_planted_on_all_channels_leave_no_trace(onnx_text: Text) -> None:
    """f_c on the gain and 1 / f_c on the rows of W change nothing in what is rounded after smoothing."""
    planted = np.exp(np.random.default_rng(2).uniform(-4, 4, CHANNELS))
    weight, offset = np.random.default_rng(3).standard_normal((CHANNELS, 8)), np.zeros(CHANNELS)
    plain = _model(NORM, onnx_text, gain=np.ones(CHANNELS), offset=offset, W=weight)
    skewed = _model(NORM, onnx_text, gain=planted, offset=offset, W=weight / planted[:, None])
    before, lost = (_sqnr(model, "insert-qdq{method=minmax}") for model in (plain, skewed))
    after = _sqnr(skewed, "smooth, insert-qdq{method=minmax}")
    assert lost < before - 10, (before, lost)
    assert after > before - 0.5, (before, after)


def test_an_outlier_of_the_value_alone_gets_the_scale_that_a_sweep_finds(onnx_text: Text) -> None:
    """gain × 50 with W left alone: auto must come within 0.5 dB of the best of 60 scales that were tried."""
    gain, weight = np.ones(CHANNELS), _signs(CHANNELS, 8)
    gain[5] = 50.0
    tried = []
    for s in np.geomspace(0.5, 100, 60):
        scale = np.ones(CHANNELS)
        scale[5] = s
        moved = _model(
            NORM, onnx_text, gain=gain / scale, offset=np.zeros(CHANNELS), W=weight * scale[:, None]
        )
        tried.append(_sqnr(moved, "insert-qdq{method=minmax}"))
    model = _model(NORM, onnx_text, gain=gain, offset=np.zeros(CHANNELS), W=weight)
    found = _sqnr(model, "smooth{gain=0}, insert-qdq{method=minmax}")
    assert found > max(tried) - 0.5, (found, max(tried))


def test_an_offset_far_from_zero_is_taken_out(onnx_text: Text) -> None:
    """Channel 2 lies at 1000 ± 4, which the bias behind takes back: shifted, steps are 250 times finer."""
    offset, weight = np.zeros(CHANNELS), _signs(CHANNELS, 8)
    offset[2] = 1000.0
    text = NORM.replace("8] W>", "8] W, float[8] b>").replace(
        "y = MatMul (n, W)", "m = MatMul (n, W) y = Add (m, b)"
    )
    given = {"gain": np.ones(CHANNELS), "offset": offset, "W": weight, "b": -1000 * weight[2]}
    model = _model(text, onnx_text, **given)
    made = _after(model, "smooth{shift=true}")
    assert np.abs(_of(made, "Add", 1)).max() < 8, "the biases no longer cancel anything"
    plain, scaled, shifted = (
        _sqnr(model, f"{p}insert-qdq{{method=minmax}}") for p in ("", "smooth, ", "smooth{shift=true}, ")
    )
    assert shifted > plain + 30, (plain, scaled, shifted)
    assert shifted > scaled + 6, (plain, scaled, shifted)


def test_a_relu_that_never_cuts_gives_its_bias_away(onnx_text: Text) -> None:
    """A bias of 100 keeps channel 0 above 90: that goes to the next bias; channels that cut keep theirs."""
    bias = np.array([100.0, 0.0, 0.1, -0.1])
    model = _model(RELU, onnx_text, a=bias, A=np.random.default_rng(4).standard_normal((4, 3, 1, 1)))
    context, check = _context(model), CheckEach()
    pipeline = parse("infer-shapes, equalize{absorb=true gain=0}")
    made = run_pipeline(model.clone(), pipeline, context, [check]).model
    assert check.rows[-1].sqnr_db["y"] > 90
    first, second = (node for node in made.graph if node.op_type == "Conv")
    s = _of(model, "Conv", 1)[:, 0, 0, 0] / _of(made, "Conv", 1)[:, 0, 0, 0]
    kept, moved = (constant(node.inputs[2]) for node in (first, second))
    assert kept is not None
    assert moved is not None
    np.testing.assert_allclose((kept * s)[1:], bias[1:], rtol=1e-4, atol=1e-5)
    taken = 100.0 - (kept * s)[0]
    assert 90 < taken < 100
    weight = constant(list(model.graph)[2].inputs[1])
    assert weight is not None
    np.testing.assert_allclose(moved, taken * weight[:, 0, 0, 0], rtol=1e-4)
    before, after = (_sqnr(model, f"{p}insert-qdq{{method=minmax}}") for p in ("", "equalize{absorb=true}, "))
    assert after > before, (before, after)


@pytest.mark.parametrize("pipeline", ["smooth{shift=true gain=0}", "equalize{absorb=true gain=0}"])
def test_channels_that_are_constant_or_silent_stay_finite(pipeline: str, onnx_text: Text) -> None:
    gain = np.ones(CHANNELS)
    gain[[0, 1]] = 0.0
    offset = np.where(np.arange(CHANNELS) == 1, 7.0, 0.0)
    models = (
        _model(NORM, onnx_text, gain=gain, offset=offset, W=_signs(CHANNELS, 8)),
        _model(RELU, onnx_text, A=np.zeros((4, 3, 1, 1)), a=np.array([0.0, 5, -5, 1])),
    )
    for model in models:
        context, check = _context(model), CheckEach()
        made = run_pipeline(model.clone(), parse(f"infer-shapes, {pipeline}"), context, [check]).model
        arrays = [value.const_value for value in made.graph.initializers.values()]
        assert all(a is not None and np.isfinite(a.numpy()).all() for a in arrays)
        assert all(db > 90 for row in check.rows for db in row.sqnr_db.values())


def test_products_inside_a_body_stay_and_say_so(onnx_text: Text) -> None:
    """A weight shared with the body of an If keeps its values there."""
    model = onnx_text("""g (float[7,4] x, bool k) => (float[7,6] y, float[7,6] z)
        <float[4] gain, float[4] offset, float[4,6] W> {
        n = LayerNormalization (x, gain, offset) y = MatMul (n, W)
        z = If (k) <then_branch = t () => (float[7,6] u) { u = MatMul (x, W) },
                    else_branch = e () => (float[7,6] v) { w = MatMul (x, W) v = Neg (w) }> }""")
    rng = np.random.default_rng(0)
    drawn = [
        {"x": rng.standard_normal((7, 4)).astype(np.float32), "k": np.array(i % 2 == 0)} for i in range(8)
    ]
    context, check = Context(samples=load_samples(model, drawn)), CheckEach()
    report = run_pipeline(model, parse("infer-shapes, smooth{alpha=0.5 shift=true gain=0}"), context, [check])
    assert report.steps[-1].edits > 0
    assert all(db > 90 for row in check.rows for db in row.sqnr_db.values())
    inside = [skip for skip in report.skips if "body" in skip.reason]
    assert len(inside) == 2, "both products are named"
