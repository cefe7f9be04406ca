"""import-fake-quant: the operators of QONNX against their formulas, written down here in numpy."""

import numpy as np
import pytest

from onnxq.graph.match import constant

from .dialects import LINE, QONNX, Text, X, check, grid, imported, ops, values


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
