"""import-fake-quant: quantizers that were taken apart into standard operators."""

import numpy as np
import pytest

from onnxq.graph.match import constant
from onnxq.graph.outline import outline
from onnxq.passes.importing.import_fake_quant import ImportFakeQuant
from onnxq.pipeline.context import Context

from .dialects import LINE, Text, X, check, grid, imported, ops

NUMBERS = (
    "float s = {0.2}, float r = {5.0}, float l = {-4.0}, float h = {3.0}, float z = {2.0}, float lz = {0.0}, "
    "float hz = {7.0}, float alpha = {3.0}, float zero = {0.0}"
)
CHAINS = {
    "lsq": ("a = Div (x, s) c = Clip (a, l, h) q = Round (c) y = Mul (q, s)", 0, -4, 3),
    "round first": ("a = Div (x, s) q = Round (a) c = Clip (q, l, h) y = Mul (s, c)", 0, -4, 3),
    "by the inverse": ("a = Mul (r, x) q = Round (a) c = Clip (q, l, h) y = Div (c, r)", 0, -4, 3),
    "min and max": ("a = Div (x, s) q = Round (a) m = Max (q, l) c = Min (h, m) y = Mul (c, s)", 0, -4, 3),
    "zero point": (
        "a = Div (x, s) b = Add (a, z) q = Round (b) c = Clip (q, lz, hz) d = Sub (c, z) y = Mul (d, s)",
        2,
        0,
        7,
    ),
    "pact": ("c = Clip (x, zero, alpha) a = Div (c, s) q = Round (a) y = Mul (q, s)", 0, 0, 15),
    "straight through": (
        "a = Div (x, s) c = Clip (a, l, h) q = Round (c) d = Sub (q, c) e = Add (c, d) y = Mul (e, s)",
        0,
        -4,
        3,
    ),
    "learned scale": ("t = Abs (s) a = Div (x, t) c = Clip (a, l, h) q = Round (c) y = Mul (q, t)", 0, -4, 3),
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_decomposed(onnx_text: Text, chain: tuple[str, int, int, int]) -> None:
    body, zero, low, high = chain
    model = onnx_text(LINE.format(constants=NUMBERS, body=body))
    check(model, grid(X, 0.2, zero, low, high), ["Clip", "QuantizeLinear", "DequantizeLinear"])


def test_lsq_plus_keeps_an_offset_between_two_codes(onnx_text: Text) -> None:
    constants = NUMBERS + ", float beta = {-0.33}"
    body = (
        "o = Sub (x, beta) a = Div (o, s) c = Clip (a, l, h) q = Round (c) m = Mul (q, s) y = Add (m, beta)"
    )
    expected = grid(X - np.float32(-0.33), 0.2, 0, -4, 3) + np.float32(-0.33)
    model = onnx_text(LINE.format(constants=constants, body=body))
    check(model, expected, ["Sub", "Clip", "QuantizeLinear", "DequantizeLinear", "Add"])


def test_dorefa_weights(onnx_text: Text) -> None:
    """2 bits: w → tanh w / 2 max|tanh w| + ½ → ⌊3·⌉/3 → 2·−1, the levels −1, −⅓, ⅓, 1."""
    model = onnx_text("""g (float[1,4] x) => (float[1,2] y)
        <float[4,2] W = {2.0, 0.1, -0.1, -2.0, 0.9, -0.7, 0.4, -0.4}, float two = {2.0}, float half = {0.5},
         float n = {3.0}, float one = {1.0}> {
            t = Tanh (W) a = Abs (t) m = ReduceMax <keepdims = 0> (a) e = Mul (two, m) f = Div (t, e)
            g = Add (f, half) h = Mul (g, n) q = Round (h) i = Div (q, n) j = Mul (two, i) w = Sub (j, one)
            y = MatMul (x, w)
        }""")
    done = imported(model).model
    assert ops(done) == ["DequantizeLinear", "MatMul"]
    node = done.graph[0]
    tanh = np.tanh(np.array([2.0, 0.1, -0.1, -2.0, 0.9, -0.7, 0.4, -0.4]))
    by_hand = np.rint(3 * (tanh / (2 * np.abs(tanh).max()) + 0.5)) * 2 - 3
    np.testing.assert_array_equal(constant(node.inputs[0]), by_hand.reshape(4, 2).astype(np.int8))
    scale = constant(node.inputs[1])
    assert scale is not None
    np.testing.assert_allclose(scale, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "y = Round (x)",
        "a = Div (x, s) q = Round (a) y = Mul (q, s)",
        "a = Div (x, s) c = Clip (a, l, h) q = Floor (c) y = Mul (q, s)",
    ],
    ids=["nothing", "no bounds", "no rounding"],
)
def test_other_roundings_stay(onnx_text: Text, body: str) -> None:
    model = onnx_text(LINE.format(constants=NUMBERS, body=body))
    was = outline(model)
    assert not ImportFakeQuant().run(model, Context()).modified
    assert outline(model) == was
