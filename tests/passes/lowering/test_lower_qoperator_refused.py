"""lower-qoperator: what it leaves alone, and the reason that it gives."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

import onnxq
from onnxq.passes.lowering.lower_qoperator import LowerQoperator
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context

REFUSED = {
    "two types": (
        "g (uint8[1,4] q) => (int8[1,4] y) <float s = {0.5}, uint8 z = {3}, int8 zy = {0}> "
        "{ d = DequantizeLinear (q, s, z) e = Sigmoid (d) y = QuantizeLinear (e, s, zy) }",
        "want one type",
    ),
    "16 bits": (
        "g (uint16[1,4] q) => (uint16[1,4] y) <float s = {0.5}, uint16 z = {3}> "
        "{ d = DequantizeLinear (q, s, z) e = Sigmoid (d) y = QuantizeLinear (e, s, z) }",
        "its result is uint16",
    ),
    "no such operator": (
        "g (uint8[1,4] q) => (uint8[1,4] y) <float s = {0.5}, uint8 z = {3}> "
        "{ d = DequantizeLinear (q, s, z) e = Tanh (d) y = QuantizeLinear (e, s, z) }",
        "no QOperator form",
    ),
    "another scale": (
        "g (uint8[1,4] q) => (uint8[1,4] y) <float s = {0.5}, float t = {0.25}, uint8 z = {3}> "
        "{ d = DequantizeLinear (q, s, z) y = QuantizeLinear (d, t, z) }",
        "changes scale or zero point",
    ),
    "read as a float too": (
        "g (uint8[1,4] q) => (uint8[1,4] y, float[1,4] f) <float s = {0.5}, uint8 z = {3}> "
        "{ d = DequantizeLinear (q, s, z) f = Sigmoid (d) y = QuantizeLinear (f, s, z) }",
        "output of the model as a float",
    ),
    "two readers": (
        "g (uint8[1,4] q) => (uint8[1,4] y, float[1,4] f) <float s = {0.5}, uint8 z = {3}> "
        "{ d = DequantizeLinear (q, s, z) e = Sigmoid (d) f = Neg (e) y = QuantizeLinear (e, s, z) }",
        "has several readers",
    ),
    "float operand": (
        "g (uint8[1,4] q, float[1,4] f) => (uint8[1,4] y) <float s = {0.5}, uint8 z = {3}> "
        "{ d = DequantizeLinear (q, s, z) e = Mul (d, f) y = QuantizeLinear (e, s, z) }",
        "its input 'f' is float",
    ),
    "sums beyond int32": (
        "g (uint8[1,4] q) => (uint8[1,2] y) <float s = {0.5}, uint8 z = {3}, float t = {0.5}, int8 v = {0}, "
        "int8[4,2] W = {100,0,100,0,100,0,100,0}, float[2] B = {5.3686e8, 0.0}> "
        "{ d = DequantizeLinear (q, s, z) w = DequantizeLinear (W, t, v) "
        "e = Gemm (d, w, B) y = QuantizeLinear (e, s, z) }",
        "leave int32",
    ),
    "a bias beyond int32": (
        "g (uint8[1,4] q) => (uint8[1,2] y) <float s = {0.5}, uint8 z = {3}, int8[4,2] W, float t = {0.5}, "
        "int8 v = {0}, float[2] B = {5e9, 0.0}> { d = DequantizeLinear (q, s, z) "
        "w = DequantizeLinear (W, t, v) e = Gemm (d, w, B) y = QuantizeLinear (e, s, z) }",
        "does not fit into int32",
    ),
    "uint8 weight of int8 activations": (
        "g (int8[1,4] q) => (int8[1,2] y) <float s = {0.5}, int8 z = {3}, uint8[4,2] W, float t = {0.5}, "
        "uint8 v = {128}> { d = DequantizeLinear (q, s, z) "
        "w = DequantizeLinear (W, t, v) e = MatMul (d, w) y = QuantizeLinear (e, s, z) }",
        "no kernel takes these together",
    ),
    "a mean over channels": (
        "g (uint8[1,4,2,2] q) => (uint8[1,1,2,2] y) <float s = {0.5}, uint8 z = {3}, int64[1] a = {1}> "
        "{ d = DequantizeLinear (q, s, z) e = ReduceMean (d, a) y = QuantizeLinear (e, s, z) }",
        "behind the second only",
    ),
    "a dilated pool": (
        "g (uint8[1,1,5] q) => (uint8[1,1,1] y) <float s = {0.5}, uint8 z = {3}> "
        "{ d = DequantizeLinear (q, s, z) e = AveragePool <kernel_shape = [3], dilations = [2]> (d) "
        "y = QuantizeLinear (e, s, z) }",
        "no dilations",
    ),
    "scales along the sum": (
        "g (uint8[1,4] q) => (uint8[1,2] y) <float s = {0.5}, uint8 z = {3}, int8[4,2] W, float[4] scale, "
        "int8[4] v = {0,0,0,0}> { d = DequantizeLinear (q, s, z) "
        "w = DequantizeLinear <axis = 0> (W, scale, v) e = MatMul (d, w) y = QuantizeLinear (e, s, z) }",
        "scales along axis 0",
    ),
    "a bias that is no bias": (
        "g (uint8[2,4] q) => (uint8[2,2] y) <float s = {0.5}, uint8 z = {3}, int8[4,2] W, float t = {0.5}, "
        "int8 v = {0}, float[2,2] B> { d = DequantizeLinear (q, s, z) w = DequantizeLinear (W, t, v) "
        "m = MatMul (d, w) e = Add (m, B) y = QuantizeLinear (e, s, z) }",
        "not one number a channel",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_left_alone_with_a_reason(rewrite: Callable[..., Outcome], case: str) -> None:
    text, reason = REFUSED[case]
    assert any(reason in skip.reason for skip in rewrite("lower-qoperator", text, None, types=True).skips)


def test_an_old_opset_is_an_error(onnx_text: Callable[..., ir.Model]) -> None:
    text = "g (float[1] x) => (uint8[1] y) <float s = {0.5}, uint8 z = {3}> { y = QuantizeLinear (x, s, z) }"
    with pytest.raises(onnxq.OnnxqError, match="needs opset 13 or later, the model has 12"):
        LowerQoperator().run(onnx_text(text, 12), Context())
