"""smooth: the closed form on outliers made by hand, what it folds into, and what it leaves alone."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.api import load_samples
from onnxq.errors import DataError
from onnxq.evaluate.metrics import sqnr_db
from onnxq.graph.match import constant
from onnxq.graph.numeric import Array
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.check import CheckEach
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

NORM_AND_PRODUCT = """g (float[7,4] x) => (float[7,6] y) <float[4] gain, float[4] offset, float[4,6] W> {
    n = LayerNormalization (x, gain, offset)
    y = MatMul (n, W)
}"""


def _context(model: ir.Model, count: int = 8, **fill: float) -> Context:
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        shapes = {v.name or "": tuple(v.shape.numpy()) for v in model.graph.inputs if v.shape is not None}
        samples.append(
            {k: rng.standard_normal(s).astype(np.float32) * fill.get(k, 1.0) for k, s in shapes.items()}
        )
    return Context(samples=load_samples(model, samples))


def _set(model: ir.Model, name: str, array: Array) -> None:
    model.graph.initializers[name].const_value = ir.tensor(np.asarray(array, np.float32))


def _made(model: ir.Model, name: str, context: Context) -> Array:
    assert context.samples is not None
    session = Session(model, optimize=False, extra_outputs=[name])
    return np.concatenate([session.run(sample.feeds, [name])[name] for sample in context.samples])


def _weight(model: ir.Model, op: str, index: int = 1) -> Array:
    found = constant(next(node for node in model.graph if node.op_type == op).inputs[index])
    assert found is not None
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_the_closed_form_is_that_of_the_paper(alpha: float, rewrite: Rewrite, onnx_text: Text) -> None:
    model = onnx_text(NORM_AND_PRODUCT)
    context = _context(model)
    done = rewrite(
        f"smooth{{alpha={alpha}}}", NORM_AND_PRODUCT, NORM_AND_PRODUCT, types=True, context=context
    )
    was = _weight(model, "MatMul")
    peaks = np.abs(_made(onnx_text(NORM_AND_PRODUCT), "n", context)).max(0)
    expected = peaks**alpha / np.abs(was).max(1) ** (1 - alpha)
    expected /= np.exp(np.log(expected).mean())
    np.testing.assert_allclose(_weight(done.model, "MatMul") / was, np.outer(expected, np.ones(6)), rtol=1e-4)
    np.testing.assert_allclose(
        _weight(done.model, "LayerNormalization") * expected, _weight(model, "LayerNormalization"), rtol=1e-4
    )


def test_q_k_and_v_share_one_scale(rewrite: Rewrite, onnx_text: Text) -> None:
    text = """g (float[7,4] x) => (float[7,6] y) <float[4] gain, float[4] offset, float[4,6] Q, float[4,6]
    K, float[4,6] V> {
        n = LayerNormalization (x, gain, offset) q = MatMul (n, Q) k = MatMul (n, K) v = MatMul (n, V) y =
        Sum (q, k, v) }"""
    model = onnx_text(text)
    done = rewrite("smooth{alpha=0.5}", text, text, types=True, context=_context(model))
    weights = [constant(node.inputs[1]) for node in done.model.graph if node.op_type == "MatMul"]
    before = [constant(model.graph.initializers[name]) for name in "QKV"]
    ratios = [
        now / was for now, was in zip(weights, before, strict=True) if now is not None and was is not None
    ]
    assert ratios[0].std() > 0.05
    for ratio in ratios[1:]:
        np.testing.assert_allclose(ratio, ratios[0], rtol=1e-4)


def test_a_scale_moves_between_query_and_key(rewrite: Rewrite, onnx_text: Text) -> None:
    """Q'·K' keeps the product; with alpha 0.5 both sides end with the same bounds per channel."""
    text = """g (float[7,4] x) => (float[7,7] y) <float[4,6] Q, float[4,6] K> {
        q = MatMul (x, Q) k = MatMul (x, K) t = Transpose (k) y = MatMul (q, t) }"""
    model = onnx_text(text)
    context = _context(model)
    done = rewrite("smooth{alpha=0.5}", text, text, types=True, context=context)
    q, k = (
        np.abs(_made(done.model, node.outputs[0].name or "", context)).max(0)
        for node in list(done.model.graph)[:2]
    )
    np.testing.assert_allclose(q, k, rtol=1e-4)


def test_outliers_cost_less_after_smoothing(onnx_text: Text) -> None:
    """Two channels of 64 are 60 times wider, as in a transformer: auto and 0.5 win 10 dB and more."""
    text = """g (float[32,64] x) => (float[32,48] y) <float[64] gain, float[64] offset, float[64,48] W> {
        n = LayerNormalization (x, gain, offset) y = MatMul (n, W) }"""
    model = onnx_text(text)
    gain = np.ones(64)
    gain[[3, 40]] = 60.0
    _set(model, "gain", gain)
    _set(model, "W", np.random.default_rng(1).standard_normal((64, 48)) / gain[:, None])
    context = _context(model)
    assert context.samples is not None
    expected = [Session(model).run(sample.feeds)["y"] for sample in context.samples]
    found = {}
    for pipeline in ("insert-qdq", "smooth, insert-qdq", "smooth{alpha=0.5}, insert-qdq"):
        made = run_pipeline(model.clone(), parse(f"infer-shapes, {pipeline}"), context).model
        session = Session(made, optimize=False)
        now = [session.run(sample.feeds)["y"] for sample in context.samples]
        found[pipeline] = sqnr_db(np.concatenate(expected), np.concatenate(now))
    plain, auto, half = found.values()
    assert plain < 28 < 36 < min(auto, half), found


def test_the_runner_holds_it_to_exact(onnx_text: Text) -> None:
    model = onnx_text(NORM_AND_PRODUCT)
    check = CheckEach()
    run_pipeline(model, parse("infer-shapes, smooth{alpha=0.5}"), _context(model), [check])
    assert check.rows[-1].sqnr_db["y"] > 100


def test_a_mul_is_inserted_only_where_it_is_allowed(rewrite: Rewrite, onnx_text: Text) -> None:
    text = "g (float[7,4] x) => (float[7,6] y) <float[4,6] W> { s = Sigmoid (x) y = MatMul (s, W) }"
    after = """g (float[7,4] x) => (float[7,6] y) <float[4,6] W, float[1,4] m> { s = Sigmoid (x) t = Mul (s,
    m) y = MatMul (t, W) }"""
    context = _context(onnx_text(text))
    rewrite("smooth{alpha=0.5}", text, None, types=True, context=context)
    rewrite("smooth{alpha=0.5 insert=true}", text, after, types=True, context=context)


def test_a_second_norm_serves_the_product(rewrite: Rewrite, onnx_text: Text) -> None:
    """The residual stream reads the true value: its norm stays, and the product gets one of its own."""
    text = """g (float[7,4] x) => (float[7,4] y)
        <float[4] gain, float[4] offset, float[4,4] W> {
        n = LayerNormalization (x, gain, offset) m = MatMul (n, W) y = Add (m, n) }"""
    after = """g (float[7,4] x) => (float[7,4] y)
        <float[4] gain, float[4] offset, float[4] gain2, float[4] offset2, float[4,4] W> {
        n = LayerNormalization (x, gain, offset) s = LayerNormalization (x, gain2, offset2)
        m = MatMul (s, W) y = Add (m, n) }"""
    context = _context(onnx_text(text))
    rewrite("smooth{alpha=0.5}", text, after, types=True, context=context)
    rewrite("smooth{alpha=0.5 split=false}", text, None, types=True, context=context)


def test_a_residual_stream_is_restored_before_its_norm(onnx_text: Text) -> None:
    text = """g (float[7,4] x) => (float[7,6] y) <float[4,4] A, float[4,4] B, float[4] gain, float[4,6] W> {
        a = MatMul (x, A) b = MatMul (a, B) r = Add (a, b) n = LayerNormalization (r, gain) y = MatMul (n,
        W) }"""
    context, check = _context(onnx_text(text)), CheckEach()
    for restore, expected in (("false", 0), ("true", 1)):
        pipeline = parse(f"infer-shapes, smooth{{alpha=0.5 restore={restore}}}")
        done = run_pipeline(onnx_text(text), pipeline, context, [check]).model
        assert [node.op_type for node in done.graph].count("Mul") == expected
        assert check.rows[-1].sqnr_db["y"] > 100


def test_silent_channels_keep_their_scale(onnx_text: Text) -> None:
    model = onnx_text(NORM_AND_PRODUCT)
    gain = np.array([0.0, 1.0, 5.0, 1.0])
    _set(model, "gain", gain)
    _set(model, "offset", gain)
    before = _weight(model, "MatMul")
    for alpha in ("0.5", "auto"):
        done = run_pipeline(
            model.clone(), parse(f"infer-shapes, smooth{{alpha={alpha} gain=0}}"), _context(model)
        ).model
        assert np.isfinite(_weight(done, "MatMul")).all()
        ratio = _weight(done, "MatMul")[0] / before[0]
        assert (ratio > 2.0**-9).all(), (
            "silence in the samples magnifies no further than one step of the widest"
        )


def test_without_samples_it_says_what_is_missing(onnx_text: Text) -> None:
    with pytest.raises(DataError, match="needs calibration samples"):
        run_pipeline(onnx_text(NORM_AND_PRODUCT), parse("infer-shapes, smooth"), Context())


def test_a_value_that_becomes_nan_is_an_error(onnx_text: Text) -> None:
    model = onnx_text("g (float[7,4] x) => (float[7,6] y) <float[4,6] W> { s = Sqrt (x) y = MatMul (s, W) }")
    with pytest.raises(DataError, match=r"'s' in sample .* not finite"):
        run_pipeline(model, parse("infer-shapes, smooth{insert=true}"), _context(model))


def test_few_samples_are_pointed_out(onnx_text: Text) -> None:
    model = onnx_text(NORM_AND_PRODUCT)
    report = run_pipeline(model, parse("infer-shapes, smooth{alpha=0.5}"), _context(model, count=2))
    assert any("only 2 samples" in skip.reason for step in report.steps for skip in step.skips)
