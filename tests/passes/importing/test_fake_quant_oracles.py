"""import-fake-quant against numbers that the frameworks themselves computed, on the same sixteen inputs.

PyTorch 2.13.0, OpenVINO 2026.4.1 (CPU plugin), qonnx 1.0.0 and TensorFlow 2.21.0 ran once; what they gave is
written down here as codes less their zero point, or as levels.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.numeric import FloatArray
from onnxq.passes.importing.import_fake_quant import ImportFakeQuant
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

TORCH_X = np.array(
    [-9.7, -3.21, -1.26, -1.04, -0.63, -0.31, -0.1049, 0, 0.07, 0.1051, 0.4, 0.73, 1.155, 1.5751, 2.2, 8.0],
    np.float32,
)
X = np.array(
    [-4.03, -3.1, -1.57, -1.04, -0.63, -0.31, -0.1049, 0, 0.07, 0.1051, 0.4, 0.73, 1.155, 1.5751, 2.2, 4.1],
    np.float32,
)

TORCH = [
    ((0.21, 6, 0, 15), [-6, -6, -6, -5, -3, -1, 0, 0, 0, 1, 2, 3, 6, 8, 9, 9]),
    ((0.013, -3, -128, 127), [-125, -125, -97, -80, -48, -24, -8, 0, 5, 8, 31, 56, 89, 121, 130, 130]),
    ((0.05, 0, -127, 127), [-127, -64, -25, -21, -13, -6, -2, 0, 1, 2, 8, 15, 23, 32, 44, 127]),
    ((0.4, 0, -2, 1), [-2, -2, -2, -2, -2, -1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]),
]
"""torch.fake_quantize_per_tensor_affine(x, scale, zero_point, quant_min, quant_max)."""

TORCH_CHANNELS = [[-8, -6, -3, -2], [-6, -3, -1, 0], [4, 5, 9, 9], [4, 5, 7, 7]]
"""torch.fake_quantize_per_channel_affine of the same as [4, 4], axis 0, −8 … 7."""

OPENVINO = [
    (
        (-1.28, 1.27, -1.28, 1.27, 256),
        [0, 0, 0, 24, 65, 97, 118, 128, 135, 139, 168, 201, 244, 255, 255, 255],
    ),
    ((-1.5, 1.5, -1.5, 1.5, 15), [0, 0, 0, 2, 4, 6, 7, 7, 7, 7, 9, 10, 12, 14, 14, 14]),
    ((0.0, 3.0, 0.0, 3.0, 16), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 6, 8, 11, 15]),
    (
        (-1.28, 1.27, -2.56, 2.54, 256),
        [0, 0, 0, 24, 65, 97, 118, 128, 135, 139, 168, 201, 244, 255, 255, 255],
    ),
    ((-1.0, 3.0, -0.5, 1.5, 5), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4]),
]
"""FakeQuantize of opset 13: input low and high, output low and high, levels."""

QONNX = [
    ((0.13, 0, 3, 1, 0, "ROUND"), [-4, -4, -4, -4, -4, -2, -1, 0, 1, 1, 3, 3, 3, 3, 3, 3]),
    ((0.13, 0, 4, 0, 1, "ROUND"), [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3, 6, 9, 12, 14, 14]),
    ((0.25, 0, 4, 1, 1, "FLOOR"), [-7, -7, -7, -5, -3, -2, -1, 0, 0, 0, 1, 2, 4, 6, 7, 7]),
    ((0.25, 0, 4, 1, 0, "CEIL"), [-8, -8, -6, -4, -2, -1, 0, 0, 1, 1, 2, 3, 5, 7, 7, 7]),
    ((0.03, 100, 8, 0, 0, "ROUND"), [-100, -100, -52, -35, -21, -10, -3, 0, 2, 4, 13, 24, 38, 53, 73, 137]),
    ((0.5, 0, 2, 1, 1, "ROUND"), [-1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]),
]
"""qonnx.custom_op.general.quant.quant: scale, zero point, bits, signed, narrow, rounding."""


TENSORFLOW = [
    ((-1.0, 2.0, 8, 0), [-85, -85, -85, -85, -54, -26, -9, 0, 6, 9, 34, 62, 98, 134, 170, 170]),
    ((-1.0, 2.0, 8, 1), [-85, -85, -85, -85, -53, -26, -9, 0, 6, 9, 34, 62, 98, 133, 169, 169]),
    ((0.0, 6.0, 4, 0), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 6, 10]),
    ((0.5, 3.0, 8, 0), [0, 0, 0, 0, 0, 0, 0, 0, 7, 11, 41, 74, 118, 161, 224, 255]),
    ((-3.0, -0.5, 6, 0), [-63, -63, -40, -26, -16, -8, -3, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ((-2.0, 2.0, 5, 1), [-15, -15, -12, -8, -5, -2, -1, 0, 1, 1, 3, 5, 9, 12, 15, 15]),
]
"""tf.quantization.fake_quant_with_min_max_vars: min, max, num_bits, narrow_range."""

TENSORFLOW_CHANNELS = [[-8, 0], [-8, 0], [-4, 0], [-1, 0], [1, 0], [3, 2], [7, 4], [7, 10]]
"""tf.quantization.fake_quant_with_min_max_vars_per_channel of [8, 2]: -1.1 … 1.0 and 0 … 6, 4 bits."""


def imported(onnx_text: Text, constants: str, body: str, x: FloatArray) -> FloatArray:
    """What the imported graph makes of ``x``."""
    size = ",".join(map(str, x.shape))
    done = ImportFakeQuant().run(
        onnx_text(f"g (float[{size}] x) => (float[{size}] y) <{constants}> {{ {body} }}"), Context()
    )
    assert not done.skips
    assert {node.op_type for node in done.model.graph} >= {"QuantizeLinear", "DequantizeLinear"}
    return Session(done.model, optimize=False).run({"x": x})["y"]


@pytest.mark.parametrize(("options", "codes"), TORCH)
def test_pytorch(onnx_text: Text, options: tuple[float, int, int, int], codes: Sequence[int]) -> None:
    scale, zero_point, low, high = options
    found = imported(
        onnx_text,
        f"float s = {{{scale}}}, int64 z = {{{zero_point}}}, int64 l = {{{low}}}, int64 h = {{{high}}}",
        "y = aten.fake_quantize_per_tensor_affine (x, s, z, l, h)",
        TORCH_X,
    )
    np.testing.assert_array_equal(found, np.array(codes, np.float32) * np.float32(scale))


def test_pytorch_per_channel(onnx_text: Text) -> None:
    found = imported(
        onnx_text,
        "float[4] s = {0.5, 0.1, 0.02, 0.3}, int64[4] z = {0, 1, -2, 0}, int64 a = {0}, int64 l = {-8}, "
        "int64 h = {7}",
        "y = aten.fake_quantize_per_channel_affine (x, s, z, a, l, h)",
        TORCH_X.reshape(4, 4),
    )
    scale = np.array([0.5, 0.1, 0.02, 0.3], np.float32).reshape(4, 1)
    np.testing.assert_array_equal(found, np.array(TORCH_CHANNELS, np.float32) * scale)


@pytest.mark.parametrize(("options", "levels"), OPENVINO)
def test_openvino(
    onnx_text: Text, options: tuple[float, float, float, float, int], levels: Sequence[int]
) -> None:
    il, ih, ol, oh, count = options
    found = imported(
        onnx_text,
        f"float a = {{{il}}}, float b = {{{ih}}}, float c = {{{ol}}}, float d = {{{oh}}}",
        f"y = org.openvinotoolkit.FakeQuantize <levels = {count}> (x, a, b, c, d)",
        X,
    )
    np.testing.assert_allclose(found, np.array(levels) / (count - 1) * (oh - ol) + ol, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("options", "codes"), QONNX)
def test_qonnx(onnx_text: Text, options: tuple[float, int, int, int, int, str], codes: Sequence[int]) -> None:
    scale, zero_point, bits, signed, narrow, mode = options
    found = imported(
        onnx_text,
        f"float s = {{{scale}}}, float z = {{{zero_point}.0}}, float b = {{{bits}.0}}",
        f"y = qonnx.custom_op.general.Quant <signed = {signed}, narrow = {narrow}, "
        f'rounding_mode = "{mode}"> (x, s, z, b)',
        X,
    )
    np.testing.assert_array_equal(found, np.array(codes, np.float32) * np.float32(scale))


@pytest.mark.parametrize(("options", "codes"), TENSORFLOW)
def test_tensorflow(onnx_text: Text, options: tuple[float, float, int, int], codes: Sequence[int]) -> None:
    low, high, bits, narrow = options
    found = imported(
        onnx_text,
        f"float a = {{{low}}}, float b = {{{high}}}",
        f"y = tf.FakeQuantWithMinMaxVars <num_bits = {bits}, narrow_range = {narrow}> (x, a, b)",
        X,
    )
    scale = (high - low) / (2**bits - 1 - narrow)
    np.testing.assert_allclose(found, np.array(codes) * scale, rtol=1e-6, atol=1e-7)


def test_tensorflow_per_channel(onnx_text: Text) -> None:
    """0.08 in place of 0.07, half of a step: TensorFlow rounds up there, QuantizeLinear to even."""
    x = np.where(np.isclose(X, 0.07), np.float32(0.08), X).reshape(8, 2)
    found = imported(
        onnx_text,
        "float[2] a = {-1.1, 0.0}, float[2] b = {1.0, 6.0}",
        "y = tf.FakeQuantWithMinMaxVarsPerChannel <num_bits = 4> (x, a, b)",
        x,
    )
    scale = np.array([2.1 / 15, 6 / 15])
    np.testing.assert_allclose(found, np.array(TENSORFLOW_CHANNELS) * scale, rtol=1e-6, atol=1e-7)
