"""import-fake-quant: OpenVINO, TensorFlow and PyTorch against their own formulas, or by hand."""

import numpy as np
import pytest

from onnxq.graph.match import constant
from onnxq.graph.numeric import FloatArray

from .dialects import LINE, Text, X, check, grid, imported, ops, values


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
