"""What lower-integer refuses, and how it says so."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.errors import CheckError, PassError
from onnxq.evaluate.integer_only import float_tensors
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

QDQ = "<float s = {0.1}, uint8 z = {128}, float t = {0.05}, uint8 u = {100}"


def _wrapped(body: str, constants: str = "", shape: str = "1,2,4,4", made: str = "") -> str:
    return f"""
        g (float[{shape}] x) => (float[{made or shape}] y) {QDQ} {constants}> {{
            x_q = QuantizeLinear (x, s, z)
            x_d = DequantizeLinear (x_q, s, z)
            {body}
            y_q = QuantizeLinear (r, t, u)
            y = DequantizeLinear (y_q, t, u)
        }}"""


REFUSED = {
    "no integer rule": (_wrapped("r = LRN <size = 3> (x_d)"), "no integer rule"),
    "interpolation of a region": (
        _wrapped(
            'r = Resize <mode="linear", coordinate_transformation_mode="tf_crop_and_resize"> (x_d, roi, , n)',
            ", int64[4] n = {1, 2, 4, 9}, float[8] roi = {0, 0, 0, 0, 1, 1, 0.5, 0.5}",
            made="1,2,4,9",
        ),
        "a region of its input",
    ),
    "interpolation off the grid": (
        _wrapped(
            'r = Resize <mode = "cubic", cubic_coeff_a = -0.61803> (x_d, , , n)',
            ", int64[4] n = {1, 2, 4, 9}",
            made="1,2,4,9",
        ),
        "no multiples",
    ),
    "float between two operators": (
        _wrapped("c = Conv (x_d, w) r = Add (c, x_d)", ", float[2,2,1,1] w"),
        "its input 'c' is float",
    ),
    "computed divisor": (
        _wrapped("a = Exp (x_d) r = Div (x_d, a)").replace("Div (x_d, a)", "Div (x_d, y_0)"),
        "",
    ),
    "float weight": (_wrapped("r = Conv (x_d, w)", ", float[2,2,1,1] w"), "its input 'w' is float"),
    "computed pad value": (
        _wrapped(
            "v = ReduceMax <keepdims = 0> (x_d) r = Pad (x_d, p, v)",
            ", int64[8] p = {0,0,1,1,0,0,1,1}",
            made="1,2,6,6",
        ),
        "what it pads with is computed at run time",
    ),
    "an output that is not quantized": (
        "g (float[4] x) => (float[4] y) <float s = {0.1}, uint8 z = {128}>"
        "{ x_q = QuantizeLinear (x, s, z) x_d = DequantizeLinear (x_q, s, z) y = Exp (x_d) }",
        "no QuantizeLinear rounds its result",
    ),
    "an input that is read as a float": (
        "g (float[4] x) => (float[4] y) <float s = {0.1}, uint8 z = {128}> { e = Exp (x)"
        " x_q = QuantizeLinear (e, s, z) y = DequantizeLinear (x_q, s, z) }",
        "input 'x': it is read as a float, by Exp",
    ),
    "two scales for one input": (
        f"g (float[4] x) => (float[4] y, float[4] w) {QDQ}> {{"
        "a = QuantizeLinear (x, s, z) y = DequantizeLinear (a, s, z)"
        "b = QuantizeLinear (x, t, u) w = DequantizeLinear (b, t, u) }",
        "input 'x': it is quantized with different parameters",
    ),
}
del REFUSED["computed divisor"]


@pytest.mark.parametrize("case", REFUSED)
def test_what_stays_float_is_an_error_with_its_reason(onnx_text: Text, case: str) -> None:
    text, reason = REFUSED[case]
    with pytest.raises(CheckError, match="float places, expected none") as caught:
        LowerInteger().run(onnx_text(text), Context())
    assert reason in str(caught.value)


@pytest.mark.parametrize("case", REFUSED)
def test_islands_stay_float_and_converge(onnx_text: Text, case: str) -> None:
    text, reason = REFUSED[case]
    first = LowerInteger(allow_float=True).run(onnx_text(text), Context())
    assert any(reason in f"{skip.node}: {skip.reason}" for skip in first.skips)
    assert LowerInteger(allow_float=True).run(first.model, Context()).edits == 0
    assert float_tensors(first.model) != []


def test_island_gives_the_same_codes(onnx_text: Text) -> None:
    text = _wrapped("r = LRN <size = 3> (x_d)")
    before = Session(onnx_text(text), optimize=False, extra_outputs=["y_q"])
    after = Session(LowerInteger(allow_float=True).run(onnx_text(text), Context()).model, optimize=False)
    codes = np.arange(32, dtype=np.uint8).reshape(1, 2, 4, 4) * 8
    real = (codes.astype(np.float32) - 128) * np.float32(0.1)
    np.testing.assert_array_equal(after.run({"x": codes})["y"], before.run({"x": real})["y_q"])


def test_accumulator_that_can_overflow_is_an_error(onnx_text: Text) -> None:
    text = """
        g (float[1,70000] x) => (float[1,1] y)
          <float s = {0.1}, uint8 z = {0}, int8[70000,1] w, float t = {0.05}, uint8 u = {100}, int8 o = {0}> {
            x_q = QuantizeLinear (x, s, z)
            x_d = DequantizeLinear (x_q, s, z)
            w_d = DequantizeLinear (w, s, o)
            r = MatMul (x_d, w_d)
            y_q = QuantizeLinear (r, t, u)
            y = DequantizeLinear (y_q, t, u)
        }"""
    model = onnx_text(text)
    model.graph.initializers["w"].const_value = ir.tensor(np.full((70000, 1), 127, np.int8))
    with pytest.raises(PassError, match=r"MatMul \(output 'r'\): its accumulator can need 33 bits"):
        LowerInteger().run(model, Context())


def test_model_without_qdq_is_left_alone(onnx_text: Text) -> None:
    assert (
        LowerInteger().run(onnx_text("g (float[2] x) => (float[2] y) { y = Relu (x) }"), Context()).edits == 0
    )


def test_old_opset_is_refused(onnx_text: Text) -> None:
    with pytest.raises(PassError, match="needs opset 13 or later, found 11"):
        LowerInteger().run(onnx_text(_wrapped("r = Relu (x_d)"), 11), Context())
