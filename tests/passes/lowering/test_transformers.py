"""What whole transformers and classifiers need: division, logarithms, lengths, rankings and masks."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.errors import CheckError
from onnxq.evaluate.integer_only import float_tensors
from onnxq.graph.match import static_shape
from onnxq.graph.numeric import Array
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

from .fake_quantizer import Scheme

Text = Callable[..., ir.Model]
Lower = Callable[..., onnx.ModelProto]

CASES = {
    "quotient, both signs": "g (float[5,7] a, float[5,7] b) => (float[5,7] y) { y = Div (a, b) }",
    "quotient, broadcast": "g (float[2,3,4] a, float[3,1] b) => (float[2,3,4] y) { y = Div (a, b) }",
    "quotient, positive": """g (float[5,7] a, float[5,1] b) => (float[5,7] y) {
        c = Sigmoid (b)
        y = Div (a, c)
    }""",
    "log softmax": "g (float[4,9] x) => (float[4,9] y) { y = LogSoftmax <axis = -1> (x) }",
    "log softmax, another axis": "g (float[2,5,3] x) => (float[2,5,3] y) { y = LogSoftmax <axis = 1> (x) }",
    "length": """g (float[3,4,5] x) => (float[3,1,5] y, float[3] z) <int64[1] i = {1}, int64[2] j = {1, 2}> {
        y = ReduceL2 (x, i)
        z = ReduceL2 <keepdims = 0> (x, j)
    }""",
    "normalized length": """g (float[3,4,5] x) => (float[3,4,5] y, float[3,4,5] z) {
        y = LpNormalization <axis = -1, p = 2> (x)
        z = LpNormalization <axis = 1, p = 2> (x)
    }""",
    "conv of three axes": """g (float[1,2,4,4,3] x) => (float[1,4,3,4,2] y) <float[4,1,2,3,2] W, float[4] B> {
        y = Conv <group = 2, pads = [0,1,0,0,1,0]> (x, W, B)
    }""",
    "transposed conv of three axes": """g (float[1,2,2,3,2] x) => (float[1,3,4,5,3] y) <float[2,3,2,2,2] W> {
        y = ConvTranspose <strides = [2,2,1], pads = [0,0,0,0,1,0]> (x, W)
    }""",
    "functions by table": """g (float[2,9] x) => (float[2,9] y, float[2,9] z, float[2,9] v, float[2,9] w)
        <float f_three = {3.0}> {
        a = Abs (x)
        y = Sqrt (a)
        z = Exp (x)
        v = Pow (x, f_three)
        _s = Softplus (x)
        w = Reciprocal (_s)
    }""",
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("case", CASES)
def test_operators_give_the_exact_codes(lower: Lower, case: str, dtype: str) -> None:
    lower(CASES[case], seed=len(case), scheme=Scheme(dtype=dtype))


AROUND = """
    g (TYPES) => (RESULTS) <float s = {0.05}, uint8 z = {128}, float t = {0.00390625}, uint8 u = {0},
      float l = {0.0371}, uint8 top = {255}, DECLARED> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        BODY
    }"""


def _strict_and_float(model: ir.Model, feeds: dict[str, Array]) -> list[tuple[Array, Array]]:
    """Each output of the Q/DQ graph, as codes if it is float, and of the integer graph."""
    (shape,) = [static_shape(value) for value in model.graph.inputs if value.name == "x"]
    codes = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    real = (codes.astype(np.float32) - 128) * np.float32(0.05)
    rounded = {"y": "r"}
    names = [rounded.get(value.name or "", value.name or "") for value in model.graph.outputs]
    expected = Session(model.clone(), optimize=False, extra_outputs=names).run(feeds | {"x": real})
    strict = LowerInteger().run(model, Context()).model
    assert float_tensors(strict) == []
    made = Session(strict, optimize=False).run(feeds | {"x": codes})
    return [(expected[name], array) for name, array in zip(names, made.values(), strict=True)]


def _text(types: str, results: str, declared: str, body: str) -> str:
    parts = {"TYPES": types, "RESULTS": results, "DECLARED": declared, "BODY": body}
    text = AROUND
    for word, part in parts.items():
        text = text.replace(word, part)
    return text


PROBABILITIES = "p = Softmax <axis = -1> (m) r = QuantizeLinear (p, t, u) y = DequantizeLinear (r, t, u)"
SHOWN = np.arange(24).reshape(2, 12) % 3 != 0
MASKS = {
    "added, of booleans": (
        "bool[2,12] c",
        "float[12] zeros, float low = {-10000.0}",
        "b = Where (c, zero, low) m = Add (d, b)",
    ),
    "added, reshaped": (
        "bool[2,1,12] c",
        "int64[1] ax = {1}, float low = {-3.4e38}",
        "b = Where (c, zero, low) w = Squeeze (b, ax) m = Add (w, d)",
    ),
    "chosen": ("bool[2,12] c", "float low = {-inf}", "m = Where (c, d, low)"),
    "chosen the other way": ("bool[2,12] c", "float low = {-1e9}", "n = Not (c) m = Where (n, low, d)"),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_booleans(onnx_text: Text, name: str) -> None:
    kind, declared, body = MASKS[name]
    shape = [int(n) for n in kind[kind.index("[") + 1 : kind.index("]")].split(",")]
    model = onnx_text(
        _text(
            f"float[2,12] x, {kind}",
            "float[2,12] y",
            f"{declared}, float zero = {{0.0}}",
            body + PROBABILITIES,
        )
    )
    ((expected, codes),) = _strict_and_float(model, {"c": SHOWN.reshape(shape)})
    assert not codes[~SHOWN].any()
    assert np.abs(codes.astype(int) - expected).max() <= 1
    assert codes.sum() > 450


def test_a_causal_mask_is_a_constant(onnx_text: Text) -> None:
    mask = ", ".join("0" if j <= i else "-65504" for i in range(4) for j in range(4))
    text = _text(
        "float[4,4] x", "float[4,4] y", f"float[4,4] c = {{{mask}}}", "m = Add (d, c)" + PROBABILITIES
    )
    ((expected, codes),) = _strict_and_float(onnx_text(text), {})
    assert not codes[np.triu_indices(4, 1)].any()
    assert np.abs(codes.astype(int) - expected).max() <= 1


def test_a_masked_log_softmax_saturates(onnx_text: Text) -> None:
    body = """m = Where (c, d, low) p = LogSoftmax (m) r = QuantizeLinear (p, l, top)
        y = DequantizeLinear (r, l, top)"""
    text = _text("float[2,12] x, bool[2,12] c", "float[2,12] y", "float low = {-inf}", body)
    ((expected, codes),) = _strict_and_float(onnx_text(text), {"c": SHOWN})
    assert not codes[~SHOWN].any()
    assert np.abs(codes.astype(int) - expected).max() <= 1


def test_nothing_divides_by_zero(onnx_text: Text) -> None:
    body = """e = DequantizeLinear (b, s, z) f = Div (d, e) r = QuantizeLinear (f, l, z)
        y = DequantizeLinear (r, l, z)"""
    text = _text("float[5] x, uint8[5] b", "float[5] y", "", body).replace(", >", ">")
    strict = LowerInteger().run(onnx_text(text), Context()).model
    feeds = {"x": np.asarray([100, 128, 150, 127, 129], np.uint8), "b": np.full(5, 128, np.uint8)}
    assert Session(strict, optimize=False).run(feeds)["y"].tolist() == [0, 128, 255, 0, 255]


def test_a_bias_is_no_mask(onnx_text: Text) -> None:
    text = _text(
        "float[2,12] x, bool[2,12] c",
        "float[2,12] y",
        "float one = {1.0}, float zero = {0.0}",
        "b = Where (c, zero, one) m = Add (d, b)" + PROBABILITIES,
    )
    with pytest.raises(CheckError, match="no mask"):
        LowerInteger().run(onnx_text(text), Context())


COMPARISONS = {
    "of a number": "y = Greater (d, c)",
    "of a number, the other way": "y = LessOrEqual (c, d)",
    "of one grid": "y = Less (d, e)",
    "of two grids": "y = GreaterOrEqual (d, f)",
    "equality": "y = Equal (d, e)",
    "to boolean": "y = Cast <to = 9> (d)",
}


@pytest.mark.parametrize("body", COMPARISONS.values(), ids=COMPARISONS)
def test_comparisons_of_codes(onnx_text: Text, body: str) -> None:
    other = """e = DequantizeLinear (b, s, z) f = DequantizeLinear (b, l, z)"""
    text = _text("float[5,60] x, uint8[5,60] b", "bool[5,60] y", "float c = {0.3}", f"{other} {body}")
    model = onnx_text(text)
    rng = np.random.default_rng(4)
    codes, b = (rng.integers(100, 150, (5, 60)).astype(np.uint8) for _ in range(2))
    real = (codes.astype(np.float32) - 128) * np.float32(0.05)
    expected = Session(model.clone(), optimize=False).run({"x": real, "b": b})["y"]
    strict = LowerInteger().run(model, Context()).model
    assert float_tensors(strict) == []
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(Session(strict, optimize=False).run({"x": codes, "b": b})["y"], expected)


def test_a_mask_made_of_a_mask(onnx_text: Text) -> None:
    """As Hugging Face writes it: what 1 − mask hides gets the lowest number."""
    body = """k = Cast <to = 1> (c) kq = QuantizeLinear (k, v, u) w = DequantizeLinear (kq, v, u)
        o = Sub (one, w) oq = QuantizeLinear (o, v, u)
        i = DequantizeLinear (oq, v, u) h = Cast <to = 9> (i) b = Where (h, low, i) m = Add (d, b) """
    declared = "float v = {0.003921569}, float one = {1.0}, float low = {-3.4e38}"
    model = onnx_text(_text("float[2,12] x, int64[2,12] c", "float[2,12] y", declared, body + PROBABILITIES))
    ((expected, codes),) = _strict_and_float(model, {"c": SHOWN.astype(np.int64)})
    assert not codes[~SHOWN].any()
    assert np.abs(codes.astype(int) - expected).max() <= 1


def test_rankings_are_those_of_the_numbers(onnx_text: Text) -> None:
    body = """values, best = TopK <axis = 1> (d, k)
        e = Exp (values) r = QuantizeLinear (e, s, u) y = DequantizeLinear (r, s, u)"""
    text = _text("float[3,40] x", "float[3,5] y, int64[3,5] best", "int64[1] k = {5}", body)
    for expected, made in _strict_and_float(onnx_text(text), {}):
        np.testing.assert_array_equal(made, expected)


def test_ranked_values_may_be_an_output(onnx_text: Text) -> None:
    text = _text(
        "float[3,40] x", "float[3,5] y, int64[3,5] best", "int64[1] k = {5}", "y, best = TopK (d, k)"
    )
    strict = LowerInteger().run(onnx_text(text), Context()).model
    assert float_tensors(strict) == []
    assert strict.metadata_props["onnxq.zero_point.y"] == "128"


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("size", range(5, 9))
@pytest.mark.parametrize("pads", ["0,0,0,0", "1,1,1,1", "0,1,1,0"])
def test_windows_that_hang_over(onnx_text: Text, include: int, size: int, pads: str) -> None:
    body = f"""a = AveragePool <kernel_shape = [3,2], strides = [2,3], pads = [{pads}], ceil_mode = 1,
        count_include_pad = {include}> (d) r = QuantizeLinear (a, l, z) y = DequantizeLinear (r, l, z)"""
    text = _text(f"float[1,2,{size},{size}] x", "float[1,2,A,B] y", "", body).replace(", >", ">")
    ((expected, codes),) = _strict_and_float(onnx_text(text), {})
    assert codes.shape == expected.shape
    assert np.abs(codes.astype(int) - expected).max() <= 1
    assert (codes == expected).mean() > 0.9


@pytest.mark.parametrize("auto", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_transposed_conv_of_a_given_shape(onnx_text: Text, auto: str) -> None:
    body = f"""w = DequantizeLinear (W, s, none) a = ConvTranspose <strides = [2,2], output_shape = [8,7],
        auto_pad = "{auto}"> (d, w) r = QuantizeLinear (a, l, z) y = DequantizeLinear (r, l, z)"""
    text = _text("float[1,2,4,4] x", "float[1,3,8,7] y", "int8[2,3,3,3] W, int8 none = {0}", body)
    ((expected, codes),) = _strict_and_float(onnx_text(text), {})
    assert np.abs(codes.astype(int) - expected).max() <= 1
    assert (codes == expected).mean() > 0.9
