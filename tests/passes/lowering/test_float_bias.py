"""lower-integer on float biases: nothing of them is lost, however coarse s_x·s_w is."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.quant.fixed_point import Rounding
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

MODELS = {
    "Conv": """g (uint8[256,1,1,1] q) => (uint8[256,3,1,1] r)
        <float sx = {{0.5}}, uint8 zx = {{128}}, int8[3,1,1,1] W = {{1, -2, 0}}, float[3] b = {bias},
         float[3] sw = {scale}, int8[3] zw = {{0, 0, 0}}, float sy = {{0.7}}, uint8 zy = {{90}}> {{
            x = DequantizeLinear (q, sx, zx) w = DequantizeLinear <axis = 0> (W, sw, zw)
            y = Conv (x, w, b) r = QuantizeLinear (y, sy, zy)
        }}""",
    "MatMul": """g (uint8[256,1] q) => (uint8[256,3] r)
        <float sx = {{0.5}}, uint8 zx = {{128}}, int8[1,3] W = {{1, -2, 0}}, float[3] b = {bias},
         float[3] sw = {scale}, int8[3] zw = {{0, 0, 0}}, float sy = {{0.7}}, uint8 zy = {{90}}> {{
            x = DequantizeLinear (q, sx, zx) w = DequantizeLinear <axis = 1> (W, sw, zw)
            m = MatMul (x, w) y = Add (m, b) r = QuantizeLinear (y, sy, zy)
        }}""",
}
BIAS = [0.137, -1.31, 7.77]


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dead", [1.0, 1e-30])
def test_every_code_is_that_of_exact_arithmetic(
    onnx_text: Text, name: str, dialect: Dialect, dead: float
) -> None:
    """A step of s_x·s_w is 0.4 codes. The weight of the last channel is zero: its scale may be anything."""
    bias, scale = (f"{{{', '.join(map(repr, values))}}}" for values in (BIAS, [0.56, 0.56, dead]))
    model = onnx_text(MODELS[name].format(bias=bias, scale=scale))
    strict = LowerInteger(dialect=dialect).run(model, Context()).model
    codes = np.arange(256, dtype=np.uint8)
    shape = [256 if i == 0 else 1 for i in range(len(model.graph.inputs[0].shape or ()))]
    found = Session(strict, optimize=False).run({"q": codes.reshape(shape)})["r"].reshape(256, 3)
    x = (codes.astype(np.float64) - 128)[:, None] * 0.5
    real = x * np.array([1, -2, 0]) * np.float64(np.float32(0.56)) + np.array(BIAS, np.float32).astype(
        np.float64
    )
    expected = np.clip(np.rint(real / np.float64(np.float32(0.7))) + 90, 0, 255)
    np.testing.assert_array_equal(found, expected)


def test_kernels_of_tflite_know_int32_biases_only(onnx_text: Text) -> None:
    """Their bias is the nearest step: 0.137 is none of 0.28, −1.31 is five."""
    model = onnx_text(MODELS["Conv"].format(bias="{0.137, -1.31, 0.0}", scale="{0.56, 0.56, 0.56}"))
    strict = LowerInteger(rounding=Rounding.TFLITE).run(model, Context()).model
    middle = (
        Session(strict, optimize=False).run({"q": np.full((256, 1, 1, 1), 128, np.uint8)})["r"][0].reshape(-1)
    )
    np.testing.assert_array_equal(middle, [90, 88, 90])
