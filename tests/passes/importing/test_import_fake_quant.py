"""import-fake-quant: every dialect against its own formula, written down here in numpy or by hand."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.graph.match import constant
from onnxq.graph.numeric import Array, FloatArray
from onnxq.graph.outline import outline
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.import_fake_quant import ImportFakeQuant
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Text = Callable[..., ir.Model]
X = np.linspace(-4.03, 4.11, 96, dtype=np.float32).reshape(2, 3, 16)
LINE = "g (float[2,3,16] x) => (float[2,3,16] y) <{constants}> {{ {body} }}"
QONNX = "qonnx.custom_op.general"


def imported(model: ir.Model) -> Outcome:
    """The pass, run once; a second run must not edit."""
    done = ImportFakeQuant().run(model, Context())
    assert ImportFakeQuant().run(done.model, Context()).edits == 0, "our own output is changed"
    return done


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in all_nodes(model)]


def values(model: ir.Model, feeds: Mapping[str, Array] | None = None) -> Array:
    return Session(model, optimize=False).run(feeds or {"x": X})["y"]


def check(model: ir.Model, expected: FloatArray, nodes: list[str]) -> ir.Model:
    """The imported graph has these nodes and computes exactly these numbers."""
    done = imported(model)
    assert ops(done.model) == nodes
    assert not done.skips
    np.testing.assert_array_equal(values(done.model), expected.astype(np.float32))
    return done.model


def grid(x: FloatArray, s: float, z: int, low: int, high: int) -> FloatArray:
    """The quantizer that all dialects mean, in float32."""
    codes = np.clip(np.rint(x / np.float32(s)) + z, low, high)
    return np.asarray((codes - z).astype(np.float32) * np.float32(s))


# --- QONNX ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "low", "high"),
    [
        (3, 1, 0, -4, 3),
        (3, 1, 1, -3, 3),
        (4, 0, 0, 0, 15),
        (4, 0, 1, 0, 14),
        (2, 1, 1, -1, 1),
        (7, 1, 0, -64, 63),
    ],
)
def test_qonnx_quant(onnx_text: Text, bits: int, signed: int, narrow: int, low: int, high: int) -> None:
    body = f'y = {QONNX}.Quant <signed = {signed}, narrow = {narrow}, rounding_mode = "ROUND"> (x, s, z, b)'
    text = LINE.format(constants=f"float s = {{0.13}}, float z = {{0.0}}, float b = {{{bits}.0}}", body=body)
    check(onnx_text(text), grid(X, 0.13, 0, low, high), ["Clip", "QuantizeLinear", "DequantizeLinear"])


def test_qonnx_quant_of_the_full_type_needs_no_clip(onnx_text: Text) -> None:
    body = f"y = {QONNX}.Quant <signed = 0, narrow = 0> (x, s, z, b)"
    text = LINE.format(constants="float[1] s = {0.03}, float z = {100.0}, float b = {8.0}", body=body)
    check(onnx_text(text), grid(X, 0.03, 100, 0, 255), ["QuantizeLinear", "DequantizeLinear"])


@pytest.mark.parametrize("mode", ["FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"])
def test_qonnx_other_roundings(onnx_text: Text, mode: str) -> None:
    """A power of two as scale, so that ties and whole numbers occur: 0.25 · n/2."""
    rounding = {
        "FLOOR": np.floor(X8 / 0.25),
        "CEIL": np.ceil(X8 / 0.25),
        "UP": np.sign(X8) * np.ceil(np.abs(X8) / 0.25),
        "DOWN": np.fix(X8 / 0.25),
        "HALF_UP": np.sign(X8) * np.floor(np.abs(X8) / 0.25 + 0.5),
        "HALF_DOWN": np.sign(X8) * np.ceil(np.abs(X8) / 0.25 - 0.5),
    }
    body = f'y = {QONNX}.IntQuant <signed = 1, narrow = 0, rounding_mode = "{mode}"> (x, s, z, b)'
    text = LINE.format(constants="float s = {0.25}, float z = {0.0}, float b = {4.0}", body=body)
    done = imported(onnx_text(text))
    expected = np.clip(rounding[mode], -8, 7) * 0.25
    np.testing.assert_array_equal(values(done.model, {"x": X8}), expected.astype(np.float32))


X8 = (np.arange(-48, 48, dtype=np.float32) / 8).reshape(2, 3, 16)


def test_qonnx_bipolar(onnx_text: Text) -> None:
    """Zero counts as positive."""
    x = np.where(np.abs(X) < 0.3, np.float32(0), X)
    body = f"y = {QONNX}.BipolarQuant (x, s)"
    done = imported(onnx_text(LINE.format(constants="float s = {0.7}", body=body)))
    assert ops(done.model) == ["Less", "Where", "QuantizeLinear", "DequantizeLinear"]
    np.testing.assert_array_equal(
        values(done.model, {"x": x}), np.where(x >= 0, np.float32(0.7), np.float32(-0.7))
    )


def test_qonnx_trunc(onnx_text: Text) -> None:
    """8 bits at scale 1/8 become 4: codes / 16, rounded down, at the old scale (the operator's version 1)."""
    body = f"y = {QONNX}.Trunc (x, s, z, b, c)"
    constants = "float s = {0.125}, float z = {0.0}, float b = {8.0}, float c = {4.0}"
    done = imported(onnx_text(LINE.format(constants=constants, body=body)))
    np.testing.assert_array_equal(
        values(done.model, {"x": X8}), (np.floor(np.rint(X8 / 0.125) / 16) * 0.125).astype(np.float32)
    )


def test_qonnx_trunc_with_an_output_scale(onnx_text: Text) -> None:
    body = f'y = {QONNX}.Trunc <signed = 1, narrow = 0, rounding_mode = "ROUND"> (x, s, z, b, t, c)'
    constants = "float s = {0.125}, float z = {0.0}, float b = {8.0}, float t = {0.5}, float c = {4.0}"
    done = imported(onnx_text(LINE.format(constants=constants, body=body)))
    expected = np.clip(np.rint(np.rint(X8 / 0.125) / 4), -8, 7) * 0.5
    np.testing.assert_array_equal(values(done.model, {"x": X8}), expected.astype(np.float32))


def test_qonnx_minifloat(onnx_text: Text) -> None:
    """E4M3 by hand: 3 bits behind the leading one, saturating at 448."""
    body = f"y = {QONNX}.FloatQuant <has_inf = 0, has_nan = 1, has_subnormal = 1> (x, s, e, m, o, t)"
    constants = "float s = {1.0}, float e = {4.0}, float m = {3.0}, float o = {7.0}, float t = {448.0}"
    done = imported(onnx_text(LINE.format(constants=constants, body=body)))
    x = np.resize(np.array([1.0, 1.07, 1.1, 17.0, 19.0, 500.0, -0.001, 0.0], np.float32), X.shape)
    expected = np.resize(
        np.array([1.0, 1.125, 1.125, 16.0, 20.0, 448.0, -0.001953125, 0.0], np.float32), X.shape
    )
    expected = np.where(x == np.float32(1.07), np.float32(1.125), expected)
    np.testing.assert_array_equal(values(done.model, {"x": x}), expected)


def test_qonnx_weights_become_codes_per_channel(onnx_text: Text) -> None:
    """2-bit weights with a scale for each row, of the domain that Brevitas wrote first."""
    model = onnx_text("""g (float[1,2] x) => (float[1,3] y)
        <float[2,3] W = {0.9, -0.2, 0.31, -5.0, 0.6, 0.11}, float[2,1] s = {0.5, 0.2}, float z = {0.0},
         float b = {2.0}> {
            w = onnx.brevitas.Quant <signed = 1, narrow = 0> (W, s, z, b)
            y = MatMul (x, w)
        }""")
    model = imported(model).model
    assert ops(model) == ["DequantizeLinear", "MatMul"]
    node = model.graph[0]
    np.testing.assert_array_equal(constant(node.inputs[0]), np.array([[1, 0, 1], [-2, 1, 1]], np.int8))
    np.testing.assert_array_equal(constant(node.inputs[1]), np.array([0.5, 0.2], np.float32))
    assert node.attributes.get_int("axis", -1) == 0
    assert "onnx.brevitas" not in model.opset_imports


# --- OpenVINO -------------------------------------------------------------------------------------------


def openvino(x: FloatArray, il: float, ih: float, ol: float, oh: float, levels: int) -> FloatArray:
    """The specification of FakeQuantize-1."""
    inside = np.rint((x - il) / (ih - il) * (levels - 1)) / (levels - 1) * (oh - ol) + ol
    return np.where(x <= min(il, ih), ol, np.where(x > max(il, ih), oh, inside))


@pytest.mark.parametrize(
    ("il", "ih", "ol", "oh", "levels"),
    [
        (-1.28, 1.27, -1.28, 1.27, 256),
        (-1.5, 1.5, -1.5, 1.5, 15),
        (0.0, 3.0, 0.0, 3.0, 16),
        (-1.28, 1.27, -2.56, 2.54, 256),
        (-1.0, 3.0, -0.5, 1.5, 5),
    ],
)
def test_openvino(onnx_text: Text, il: float, ih: float, ol: float, oh: float, levels: int) -> None:
    body = f"y = org.openvinotoolkit.FakeQuantize <levels = {levels}> (x, a, b, c, d)"
    constants = f"float a = {{{il}}}, float b = {{{ih}}}, float c = {{{ol}}}, float d = {{{oh}}}"
    done = imported(onnx_text(LINE.format(constants=constants, body=body)))
    expected = openvino(X.astype(np.float64), il, ih, ol, oh, levels)
    np.testing.assert_allclose(values(done.model), expected, rtol=1e-6, atol=1e-6)
    assert ops(done.model)[-2:] == ["QuantizeLinear", "DequantizeLinear"]


def test_openvino_weights_of_256_symmetric_levels(onnx_text: Text) -> None:
    """Zero lies half-way between two of the levels −3, −1, 1, 3: the grid of half the step holds them."""
    model = onnx_text("""g (float[1,4] x) => (float[1,2] y)
        <float[4,2] W = {-1.5, -0.6, -0.4, 0.1, 0.49, 0.51, 3.0, 1.4}, float a = {-1.5}, float b = {1.5}> {
            w = org.openvinotoolkit.FakeQuantize <levels = 4> (W, a, b, a, b)
            y = MatMul (x, w)
        }""")
    node = imported(model).model.graph[0]
    np.testing.assert_array_equal(
        constant(node.inputs[0]), np.array([[-3, -1], [-1, 1], [1, 1], [3, 3]], np.int8)
    )
    np.testing.assert_array_equal(constant(node.inputs[1]), np.float32(0.5))


# --- TensorFlow -----------------------------------------------------------------------------------------


def tensorflow(x: FloatArray, low: float, high: float, bits: int, narrow: bool) -> FloatArray:
    """fake_quant_ops_functor.h, line by line."""
    first, last = float(narrow), 2.0**bits - 1
    scale = (high - low) / (last - first)
    at = first - low / scale
    zero = first if at < first else last if at > last else np.floor(at + 0.5)
    least, most = (first - zero) * scale, (last - zero) * scale
    return np.asarray(np.floor((np.clip(x, least, most) - least) / scale + 0.5) * scale + least)


@pytest.mark.parametrize(
    ("low", "high", "bits", "narrow"),
    [
        (-1.0, 2.0, 8, 0),
        (-1.0, 2.0, 8, 1),
        (0.0, 6.0, 4, 0),
        (0.5, 3.0, 8, 0),
        (-3.0, -0.5, 6, 0),
        (-2.0, 2.0, 5, 1),
    ],
)
def test_tensorflow(onnx_text: Text, low: float, high: float, bits: int, narrow: int) -> None:
    expected = tensorflow(X.astype(np.float64), low, high, bits, bool(narrow))
    options = f"num_bits = {bits}, narrow_range = {narrow}"
    by_vars = LINE.format(
        constants=f"float a = {{{low}}}, float b = {{{high}}}",
        body=f"y = tf.FakeQuantWithMinMaxVars <{options}> (x, a, b)",
    )
    by_args = LINE.format(
        constants="float unused = {0.0}",
        body=f"y = tf.FakeQuantWithMinMaxArgs <{options}, min = {low}, max = {high}> (x)",
    )
    for text in (by_vars, by_args):
        np.testing.assert_allclose(values(imported(onnx_text(text)).model), expected, rtol=2e-6, atol=2e-6)


def test_tensorflow_per_channel_counts_along_the_last_axis(onnx_text: Text) -> None:
    low, high = [-1.1, -2.0, 0.0], [1.0, 1.0, 6.0]
    x = X.reshape(32, 3)
    model = onnx_text("""g (float[32,3] x) => (float[32,3] y)
        <float[3] a = {-1.1, -2.0, 0.0}, float[3] b = {1.0, 1.0, 6.0}> {
        y = tf.FakeQuantWithMinMaxVarsPerChannel <num_bits = 4> (x, a, b)
    }""")
    done = imported(model)
    assert ops(done.model) == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    columns = [tensorflow(x[:, i].astype(np.float64), low[i], high[i], 4, False) for i in range(3)]
    np.testing.assert_allclose(values(done.model, {"x": x}), np.stack(columns, 1), rtol=2e-6, atol=2e-6)


# --- PyTorch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "y = aten.fake_quantize_per_tensor_affine (x, s, z, l, h)",
        'y = org.pytorch.aten.ATen <operator = "fake_quantize_per_tensor_affine"> (x, s, z, l, h)',
        "y = mq.FakeQuantizeLearnablePerTensorAffine <quant_min = 0, quant_max = 15> (x, s, z)",
    ],
)
def test_pytorch_per_tensor(onnx_text: Text, body: str) -> None:
    constants = "float s = {0.21}, int64 z = {6}, int64 l = {0}, int64 h = {15}"
    model = onnx_text(LINE.format(constants=constants, body=body))
    check(model, grid(X, 0.21, 6, 0, 15), ["Clip", "QuantizeLinear", "DequantizeLinear"])


def test_pytorch_per_channel(onnx_text: Text) -> None:
    constants = (
        "float[3] s = {0.1, 0.2, 0.05}, int64[3] z = {0, 1, -2}, int64 a = {1}, int64 l = {-8}, int64 h = {7}"
    )
    body = "y = aten.fake_quantize_per_channel_affine (x, s, z, a, l, h)"
    expected = np.stack(
        [grid(X[:, i], s, z, -8, 7) for i, (s, z) in enumerate([(0.1, 0), (0.2, 1), (0.05, -2)])], 1
    )
    check(
        onnx_text(LINE.format(constants=constants, body=body)),
        expected,
        ["QuantizeLinear", "Clip", "DequantizeLinear"],
    )


def test_pytorch_export_with_a_clip_of_the_codes_and_shared_parameters(onnx_text: Text) -> None:
    """Zero points behind Identity, a narrow range as Clip between Q and DQ."""
    constants = "float[1] s = {0.04}, int8 z = {0}, int8 l = {-127}, int8 h = {127}"
    body = """z1 = Identity (z) z2 = Identity (z1) q = QuantizeLinear (x, s, z1)
        c = Clip (q, l, h) y = DequantizeLinear (c, s, z2)"""
    x = X * 2
    done = imported(onnx_text(LINE.format(constants=constants, body=body)))
    assert ops(done.model) == ["Clip", "QuantizeLinear", "DequantizeLinear"]
    np.testing.assert_array_equal(values(done.model, {"x": x}), grid(x, 0.04, 0, -127, 127))


# --- taken apart ----------------------------------------------------------------------------------------

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


# --- what is refused ------------------------------------------------------------------------------------

REFUSED = {
    "unknown operator": (f"y = {QONNX}.MultiThreshold (x, s)", "unknown operator"),
    "dynamic scale": (f"t = ReduceMax <keepdims = 0> (x) y = {QONNX}.Quant (x, t, zero, b)", "at run time"),
    "scale of zero": (f"y = {QONNX}.Quant (x, zero, zero, b)", "never saw data"),
    "half a zero point": (f"y = {QONNX}.Quant (x, s, half, b)", "between two codes"),
    "too many bits": (f"y = {QONNX}.Quant (x, s, zero, sixteen)", "raise-opset{opset=21}"),
    "channels": (f"y = {QONNX}.Quant (x, five, zero, b)", "along one axis|channels of axis"),
    "dead range": ("y = tf.FakeQuantWithMinMaxVars (x, zero, zero)", "never saw data"),
    "wrong axis": (
        "q = QuantizeLinear <axis = 2> (x, three, z3) y = DequantizeLinear <axis = 2> (q, three, z3)",
        "3 scales along axis 2",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_held_is_kept_with_the_reason(onnx_text: Text, case: tuple[str, str]) -> None:
    body, reason = case
    constants = """float s = {0.5}, float zero = {0.0}, float half = {0.5}, float b = {4.0},
        float sixteen = {16.0}, float[5,1] five = {1.0, 2.0, 3.0, 4.0, 5.0},
        float[3] three = {0.1, 0.2, 0.3}, int8[3] z3 = {0, 0, 0}"""
    model = onnx_text(LINE.format(constants=constants, body=body), opset=19)
    was = outline(model)
    done = ImportFakeQuant().run(model, Context())
    assert outline(model) == was
    assert done.skips
    assert any(word in done.skips[0].reason for word in reason.split("|")), done.skips


def test_q_dq_of_opset_10_has_no_axis(onnx_text: Text) -> None:
    constants = "float[3] s = {0.1, 0.2, 0.3}, int8[3] z = {0, 0, 0}"
    text = LINE.format(
        constants=constants, body="q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
    )
    done = ImportFakeQuant().run(onnx_text(text, opset=10), Context())
    assert not done.modified
    assert "opset 10 has no axis" in done.skips[0].reason


FORMATS = {
    "blocked": "int8[4,6] W, float[2,6] scale, int8[2,6] zero",
    "16 bits": "int16[4,6] W, float s = {0.001}, int16 z = {0}",
}
READS = {
    "blocked": "DequantizeLinear <axis = 0, block_size = 2> (W, scale, zero)",
    "16 bits": "DequantizeLinear (W, s, z)",
}


@pytest.mark.parametrize("name", FORMATS)
def test_standard_formats_stay_as_they_are(onnx_text: Text, name: str) -> None:
    body = f"w = {READS[name]} y = MatMul (x, w)"
    model = onnx_text(f"g (float[1,4] x) => (float[1,6] y) <{FORMATS[name]}> {{ {body} }}")
    done = ImportFakeQuant().run(model, Context())
    assert not done.modified
    assert not done.skips


@pytest.mark.parametrize(
    ("kind", "low", "high", "opset"),
    [("int4", -8, 7, 21), ("uint4", 0, 15, 21), ("int2", -2, 1, 25), ("uint2", 0, 3, 25)],
)
def test_codes_of_few_bits_become_8_bits(onnx_text: Text, kind: str, low: int, high: int, opset: int) -> None:
    """Weights keep their numbers, a pair what it cuts off."""
    text = f"""g (float[2,3,16] x) => (float[2,3,2] y)
        <float[16,2] V, float s = {{0.21}}, {kind} z = {{1}}> {{
            q = QuantizeLinear (x, s, z)
            d = DequantizeLinear (q, s, z)
            W = QuantizeLinear (V, s, z)
            r = DequantizeLinear (W, s, z)
            y = MatMul (d, r)
        }}"""
    model = onnx_text(text, opset=opset)
    weight = constant(model.graph.initializers["V"])
    assert weight is not None
    done = imported(model)
    assert ops(done.model) == ["Clip", "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"]
    expected = grid(X, 0.21, 1, low, high) @ grid(weight, 0.21, 1, low, high)
    np.testing.assert_allclose(values(done.model), expected, rtol=1e-6, atol=1e-6)


def test_constants_of_few_bits_become_8_bits(onnx_text: Text) -> None:
    """Scales per channel, and a zero point that is left out."""
    codes = np.arange(-8, 8).reshape(2, 8)
    model = onnx_text("""g (float[1,2] x) => (float[1,8] y) <int4[2,8] W, float[8] scale> {
        w = DequantizeLinear <axis = 1> (W, scale)
        y = MatMul (x, w)
    }""")
    model.graph.initializers["W"].const_value = ir.tensor(codes.astype(ir.DataType.INT4.numpy()), name="W")
    node = imported(model).model.graph[0]
    found = constant(node.inputs[0])
    assert found is not None
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, codes)


def test_a_qonnx_file_of_opset_9_is_raised(onnx_text: Text) -> None:
    """There are no Q/DQ at opset 9, and Clip has attributes: the result has to be valid where it stands."""
    body = f"y = {QONNX}.Quant <signed = 1, narrow = 0> (x, s, z, b)"
    constants = "float s = {0.13}, float z = {0.0}, float b = {3.0}"
    done = imported(onnx_text(LINE.format(constants=constants, body=body), opset=9))
    assert done.model.opset_imports[""] >= 13
    onnx.checker.check_model(ir.to_proto(done.model), full_check=True)
    np.testing.assert_array_equal(values(done.model), grid(X, 0.13, 0, -4, 3))


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan, np.inf, 1e-44])
def test_scales_of_plain_q_dq_that_are_no_scales_are_named(onnx_text: Text, scale: float) -> None:
    body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
    model = onnx_text(LINE.format(constants="float s = {0.1}, uint8 z = {0}", body=body))
    model.graph.initializers["s"].const_value = ir.tensor(np.float32(scale), name="s")
    done = ImportFakeQuant().run(model, Context())
    assert "never saw data" in done.skips[0].reason


def test_a_missing_input_is_called_missing(onnx_text: Text) -> None:
    done = ImportFakeQuant().run(
        onnx_text(LINE.format(constants="float s = {0.1}", body=f"y = {QONNX}.Quant (x, s)")), Context()
    )
    assert "is missing" in done.skips[0].reason


def test_q_and_dq_of_different_types_are_named(onnx_text: Text) -> None:
    constants = "float s = {0.1}, uint8 z = {3}, int8 w = {0}"
    body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, w)"
    done = ImportFakeQuant().run(onnx_text(LINE.format(constants=constants, body=body)), Context())
    assert "its codes are uint8 and its zero point is int8" in done.skips[0].reason


def test_inside_the_body_of_an_if(onnx_text: Text) -> None:
    """The body is its own scope: nodes stay in it, constants too."""
    model = onnx_text(f"""g (bool c, float[2,3,16] x) => (float[2,3,16] y)
        <float s = {{0.13}}, float z = {{0.0}}, float b = {{3.0}}> {{
            y = If (c) <
                then_branch = t () => (float[2,3,16] u) {{ u = {QONNX}.Quant <signed = 1> (x, s, z, b) }},
                else_branch = e () => (float[2,3,16] v) {{ v = Neg (x) }}
            >
        }}""")
    model.opset_imports[QONNX] = 1
    done = imported(model)
    now = values(done.model, {"x": X, "c": np.array(True)})
    np.testing.assert_array_equal(now, grid(X, 0.13, 0, -4, 3))
