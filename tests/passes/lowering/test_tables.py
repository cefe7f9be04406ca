"""Functions of one tensor as tables: chains and small graphs between a DQ and a Q."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

from .fake_quantizer import Scheme

Lower = Callable[..., onnx.ModelProto]

FUNCTIONS = {
    "one activation": "y = HardSwish (x)",
    "standalone Relu": "y = Relu (x)",
    "a chain": "_a = Mul (x, f_half) _b = Tanh (_a) y = Abs (_b)",
    "x·Sigmoid(x)": "_s = Sigmoid (x) y = Mul (x, _s)",
    "Gelu in pieces": """_a = Div (x, f_half) _e = Erf (_a) _f = Add (_e, f_one)
        _g = Mul (x, _f) y = Mul (_g, f_half)""",
    "x with itself": "y = Add (x, x)",
    "PRelu with one slope": "y = PRelu (x, f_half)",
    "a quantized number": "y = Sub (C, x)",
}
CONSTANTS = "<float f_half = {0.5}, float[1] f_one = {1.0}, float C = {0.75}>"


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_becomes_cast_and_gather(lower: Lower, name: str, dtype: str) -> None:
    model = lower(
        f"g (float[2,300] x) => (float[2,300] y) {CONSTANTS} {{ {FUNCTIONS[name]} }}",
        scheme=Scheme(dtype=dtype),
    )
    assert [node.op_type for node in model.graph.node] == ["Cast", "Gather"]


def test_function_behind_a_convolution_that_is_quantized(lower: Lower) -> None:
    lower("""
        g (float[1,2,5,5] x) => (float[1,3,5,5] y) <float[3,2,1,1] W, float[3] B> {
            c = Conv (x, W, B)
            _s = Sigmoid (c)
            y = Mul (c, _s)
        }""")


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_softmax_of_an_axis_of_any_length(lower: Lower, dtype: str) -> None:
    lower("g (float[2,N] x) => (float[2,N] y) { y = Softmax <axis = 1> (x) }", scheme=Scheme(dtype=dtype))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("kind", ["bool", "int64", "int32"])
def test_softmax_behind_an_attention_mask(lower: Lower, dtype: str, kind: str) -> None:
    lower(
        f"""
        g (float[2,3,4,5] x, {kind}[2,5] mask) => (float[2,3,4,5] y)
          <float f_one = {{1.0}}, float f_low = {{-1000.0}}, int64[2] axes = {{1, 2}}> {{
            m = Cast <to = 1> (mask)
            u = Unsqueeze (m, axes)
            i = Sub (f_one, u)
            _b = Mul (i, f_low)
            _s = Add (x, _b)
            y = Softmax <axis = -1> (_s)
        }}""",
        scheme=Scheme(dtype=dtype, room=False),
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_softmax(lower: Lower, dtype: str, opset: int) -> None:
    """Along the last axis and another one, with an output scale of 1/256 and with any."""
    text = "g (float[2,3,10] x) => (float[2,3,10] y) { y = Softmax <axis = AXIS> (x) }"
    lower(text.replace("AXIS", "-1"), opset=opset, scheme=Scheme(dtype=dtype))
    lower(text.replace("AXIS", "1"), opset=opset, scheme=Scheme(dtype=dtype))
    lower(text.replace("AXIS", "1"), opset=opset, scheme=Scheme(dtype=dtype, scale=1 / 256))


def test_numbers_beyond_float32_get_the_last_code(onnx_text: Callable[..., ir.Model]) -> None:
    text = """g (float[256] x) => (float[256] y) <float s = {0.5}, uint8 z = {0}, float t = {0.001}> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        e = Exp (d)
        r = QuantizeLinear (e, t, z)
        y = DequantizeLinear (r, t, z)
    }"""
    strict = LowerInteger().run(onnx_text(text), Context()).model
    codes = Session(strict, optimize=False).run({"x": np.arange(256, dtype=np.uint8)})["y"]
    np.testing.assert_array_equal(codes, np.full(256, 255, np.uint8))
