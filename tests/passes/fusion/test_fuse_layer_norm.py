"""fuse-layer-norm: the spellings of PyTorch and TensorFlow, one axis and two, with and without weights."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse

Rewrite = Callable[..., Outcome]

WEIGHTS = """<float[5] scale, float[5] beta, float[4,5] scale2, float[4,5] beta2, float[4,1] column,
    float zero = {0.0}, float eps = {1e-5}, float two = {2.0}, float half = {0.5}, float minus_half = {-0.5},
    int64[1] last = {-1}, int64[1] third = {2}, int64[2] last2 = {-2, -1}, int64[1] middle = {1},
    float[5] ones = {1, 1, 1, 1, 1}>"""
AFFINE = "g = Mul (n, scale) y = Add (g, beta)"
CENTRED = "m = ReduceMean (x, last) d = Sub (x, m) "
SPREAD = "v = ReduceMean (p, last) e = Add (v, eps) "
SPELLINGS = {
    "pow": CENTRED + "p = Pow (d, two) " + SPREAD + "s = Sqrt (e) n = Div (d, s) " + AFFINE,
    "square, reciprocal": CENTRED.replace("last", "third") + "p = Mul (d, d) " + SPREAD + "s = Sqrt (e) "
    "r = Reciprocal (s) n = Mul (r, d) " + AFFINE,
    "sub twice": CENTRED
    + "d2 = Sub (x, m) p = Pow (d2, two) "
    + SPREAD
    + "s = Sqrt (e) n = Div (d, s) "
    + AFFINE,
    "pow for the root": CENTRED
    + "p = Pow (d, two) "
    + SPREAD
    + "s = Pow (e, minus_half) n = Mul (d, s) "
    + AFFINE,
    "tensorflow": CENTRED + "p = Mul (d, d) " + SPREAD + "s = Sqrt (e) r = Reciprocal (s) g = Mul (r, scale) "
    "a = Mul (x, g) b = Mul (m, g) c = Sub (beta, b) y = Add (a, c)",
    "identity between": CENTRED
    + "p = Pow (d, two) "
    + SPREAD
    + "s = Sqrt (e) q = Div (d, s) n = Identity (q) "
    + AFFINE,
    "cast between": CENTRED
    + "f = Cast <to = 1> (d) p = Pow (f, two) "
    + SPREAD
    + "s = Sqrt (e) n = Div (d, s) "
    + AFFINE,
}
MOMENTS = (
    "m = ReduceMean (x, last) p = Mul (x, x) q = ReduceMean (p, last) n = Mul (m, m) w = Sub (q, n) "
    "v = Max (zero, w) e = Add (v, eps) s = Sqrt (e) r = Reciprocal (s) f = Mul (r, scale) d = Sub (x, m) "
    "g = Mul (d, f) y = Add (g, beta)"
)
SPELLINGS |= {
    "jax": MOMENTS,
    "moments without a floor": MOMENTS.replace("v = Max (zero, w) e = Add (v, eps)", "e = Add (eps, w)"),
    "moments and Relu": MOMENTS.replace("Max (zero, w)", "Relu (w)"),
    "moments and Clip": MOMENTS.replace("Max (zero, w)", "Clip (w, zero)"),
}
FUSED = "y = LayerNormalization <axis = -1, epsilon = 1e-5> (x, scale, beta)"


def graph(body: str, weights: str = WEIGHTS) -> str:
    return f"g (float[3,4,5] x) => (float[3,4,5] y) {weights} {{ {body} }}"


@pytest.mark.parametrize("body", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings(rewrite: Rewrite, body: str) -> None:
    rewrite("fuse-layer-norm", before=graph(body), after=graph(FUSED), types=True)


def test_axes_as_attribute_raise_the_opset(rewrite: Rewrite) -> None:
    body = SPELLINGS["pow"].replace("ReduceMean", "ReduceMean <axes = [-1]>").replace(", last)", ")")
    model = rewrite("fuse-layer-norm", before=graph(body), after=graph(FUSED), opset=15).model
    assert model.opset_imports[""] == 17


def test_two_axes(rewrite: Rewrite) -> None:
    body = SPELLINGS["pow"].replace("last", "last2").replace("scale", "scale2").replace("beta", "beta2")
    after = "y = LayerNormalization <axis = -2, epsilon = 1e-5> (x, scale2, beta2)"
    rewrite("fuse-layer-norm", before=graph(body), after=graph(after))


@pytest.mark.parametrize("form", ["pow", "jax"])
def test_another_axis_is_transposed_there_and_back(rewrite: Rewrite, form: str) -> None:
    body = SPELLINGS[form].replace("last", "middle").replace("scale", "high").replace("beta", "low")
    own = ", float[4,1] high = {1, 2, 3, 4}, float[4,1] low = {4, 3, 2, 1}>"
    after = """t = Transpose <perm = [0,2,1]> (x)
        n = LayerNormalization <axis = -1, epsilon = 1e-5> (t, gain, bias)
        y = Transpose <perm = [0,2,1]> (n)"""
    flat = ", float[4] gain = {1, 2, 3, 4}, float[4] bias = {4, 3, 2, 1}>"
    before = graph(body, WEIGHTS.replace(">", own))
    rewrite("fuse-layer-norm", before=before, after=graph(after, WEIGHTS.replace(">", flat)), types=True)


def test_without_weights_the_gain_is_one(rewrite: Rewrite) -> None:
    body = SPELLINGS["pow"].replace("n = Div (d, s) " + AFFINE, "y = Div (d, s)")
    after = "y = LayerNormalization <axis = -1, epsilon = 1e-5> (x, ones)"
    rewrite("fuse-layer-norm", before=graph(body), after=graph(after))


def test_numbers_go_into_the_weights(rewrite: Rewrite) -> None:
    body = SPELLINGS["pow"].replace(
        "y = Add (g, beta)", "h = Mul (g, half) a = Add (h, beta) y = Mul (a, two)"
    )
    rewrite("fuse-layer-norm", before=graph(body), after=graph(FUSED))


def test_a_gain_along_other_axes_stays_behind(rewrite: Rewrite) -> None:
    body = SPELLINGS["pow"].replace(AFFINE, "y = Mul (n, column)")
    after = "n = LayerNormalization <axis = -1, epsilon = 1e-5> (x, ones) y = Mul (n, column)"
    rewrite("fuse-layer-norm", before=graph(body), after=graph(after))


def test_the_normalized_value_read_before_the_gain(rewrite: Rewrite) -> None:
    body = SPELLINGS["pow"].replace("y = Add (g, beta)", "r = Relu (n) y = Add (g, r)")
    after = (
        "n = LayerNormalization <axis = -1, epsilon = 1e-5> (x, ones) "
        "g = Mul (n, scale) r = Relu (n) y = Add (g, r)"
    )
    rewrite("fuse-layer-norm", before=graph(body), after=graph(after))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            SPELLINGS["pow"].replace("(x, last)", "(x, middle)").replace("(p, last)", "(p, middle)"),
            "not of float32",
        ),
        (SPELLINGS["pow"].replace("(x, last)", "(x, middle)"), "not of float32"),
        (SPELLINGS["pow"].replace("y = Add (g, beta)", "h = Add (g, beta) y = Add (h, s)"), "read outside"),
        (SPELLINGS["pow"].replace("Pow (d, two)", "Mul (d, x)"), None),
        (SPELLINGS["pow"].replace("n = Div (d, s)", "n = Div (x, s)"), None),
    ],
)
def test_what_stays(rewrite: Rewrite, body: str, reason: str | None) -> None:
    skips = rewrite("fuse-layer-norm", before=graph(body), after=None).skips
    assert len(skips) == (reason is not None)
    assert all(reason is not None and reason in skip.reason for skip in skips)


def test_an_unknown_size_needs_no_gain_made_up(rewrite: Rewrite) -> None:
    text = f"g (float[3,4,N] x) => (float[3,4,N] y) {WEIGHTS} {{ {SPELLINGS['pow']} }}"
    x = np.random.default_rng(0).standard_normal((3, 4, 5), np.float32)
    skips = rewrite("fuse-layer-norm", before=text, after=None, feeds={"x": x}).skips
    assert "not known" in skips[0].reason


def test_value_is_that_of_numpy(onnx_text: Callable[..., ir.Model]) -> None:
    before = onnx_text(graph(SPELLINGS["tensorflow"]))
    gain, bias = (before.graph.initializers[n].const_value for n in ("scale", "beta"))
    assert gain is not None
    assert bias is not None
    gains, biases = gain.numpy().astype(np.float64), bias.numpy()
    model = run_pipeline(before, parse("fuse-layer-norm"), Context()).model
    x = np.random.default_rng(1).normal(2, 3, (3, 4, 5)).astype(np.float32)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * gains + biases
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-4, atol=1e-5)
