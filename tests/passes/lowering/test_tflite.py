"""rounding=tflite against gemmlowp's fixed-point functions and TFLite's kernels, transcribed to Python."""

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.numeric import Array
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.quant.fixed_point import Rounding
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

LOWERINGS = [LowerInteger(rounding=Rounding.TFLITE, dialect=d) for d in (Dialect.FAST, Dialect.PORTABLE)]


def _high_mul(a: int, b: int) -> int:
    """SaturatingRoundingDoublingHighMul; C++ divides towards zero."""
    ab = a * b
    nudge = (1 << 30) if ab >= 0 else 1 - (1 << 30)
    return int(math.copysign(abs(ab + nudge) >> 31, ab + nudge))


def _divide(x: int, exponent: int) -> int:
    """RoundingDivideByPOT."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


def _quantized(real: float) -> tuple[int, int]:
    """QuantizeMultiplier."""
    fraction, shift = math.frexp(real)
    fixed = math.floor(fraction * 2**31 + 0.5)
    if fixed == 1 << 31:
        fixed, shift = fixed // 2, shift + 1
    return (fixed, shift) if shift >= -31 else (0, 0)


def _multiply(x: int, real: float) -> int:
    """MultiplyByQuantizedMultiplier, double rounding."""
    multiplier, shift = _quantized(real)
    return _divide(_high_mul(x * (1 << max(shift, 0)), multiplier), max(-shift, 0))


def _clamped(values: Array, zero: int) -> Array:
    return np.clip(values.astype(np.int64) + zero, -128, 127).astype(np.int8)


def _run(model: ir.Model, lowering: LowerInteger, feeds: dict[str, Array]) -> Array:
    strict = lowering.run(model, Context()).model
    return Session(strict, optimize=False).run(feeds)["y"]


@pytest.mark.parametrize("lowering", LOWERINGS, ids=["fast", "portable"])
@pytest.mark.parametrize("scale_y", [0.01, 0.3, 1.0, 7.0])
def test_convolution(onnx_text: Text, lowering: LowerInteger, scale_y: float) -> None:
    text = f"""g (float[1,3,64,8] x) => (float[1,8,64,8] y)
      <float s = {{0.05}}, int8 z = {{-7}}, float t = {{{scale_y}}}, int8 u = {{3}}, 
       int8[8,3,1,1] w, float[8] v, int8[8] o, float[8] c, int32[8] b, int32[8] p> {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        e = DequantizeLinear <axis = 0> (w, v, o)
        f = DequantizeLinear <axis = 0> (b, c, p)
        r = Conv (d, e, f)
        h = QuantizeLinear (r, t, u)
        y = DequantizeLinear (h, t, u)
    }}"""
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((1, 3, 64, 8), (8, 3, 1, 1)))
    v = np.exp2(rng.uniform(-12, 0, 8)).astype(np.float32)
    v[0], v[1] = 2.0**-6, 2.0**-5
    b = rng.integers(-2000, 2000, 8).astype(np.int32)
    zeros: dict[str, Array] = {"o": np.zeros(8, np.int8), "p": np.zeros(8, np.int32)}
    model = onnx_text(text)
    constants: dict[str, Array] = {"w": w, "v": v, "b": b, "c": np.float32(0.05) * v, **zeros}
    for name, array in constants.items():
        model.graph.initializers[name].const_value = ir.tensor(array)
    acc = (
        np.einsum("nchw,oc->nohw", x.astype(np.int64) + 7, w[:, :, 0, 0].astype(np.int64)) + b[:, None, None]
    )
    reals = [float(np.float32(0.05)) * float(s) / float(np.float32(scale_y)) for s in v]
    expected = np.stack(
        [np.vectorize(lambda a, r=r: _multiply(int(a), r))(acc[:, i]) for i, r in enumerate(reals)], 1
    )
    np.testing.assert_array_equal(_run(model, lowering, {"x": x}), _clamped(expected, 3))


@pytest.mark.parametrize("lowering", LOWERINGS, ids=["fast", "portable"])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("scales", [(0.5, 0.25, 0.5), (0.03, 0.07, 0.011), (1.0, 0.001, 1.3)])
def test_elementwise(
    onnx_text: Text, lowering: LowerInteger, op: str, scales: tuple[float, float, float]
) -> None:
    s, t, u = (float(np.float32(scale)) for scale in scales)
    text = f"""g (float[256,1] a, float[1,256] b) => (float[256,256] y)
      <float s = {{{s}}}, int8 i = {{-5}}, float t = {{{t}}}, int8 j = {{9}}, float u = {{{u}}},
       int8 k = {{2}}> {{
        a_q = QuantizeLinear (a, s, i)
        a_d = DequantizeLinear (a_q, s, i)
        b_q = QuantizeLinear (b, t, j)
        b_d = DequantizeLinear (b_q, t, j)
        r = {op} (a_d, b_d)
        y_q = QuantizeLinear (r, u, k)
        y = DequantizeLinear (y_q, u, k)
    }}"""
    codes = np.arange(-128, 128)
    left, right = [int(q) + 5 for q in codes], [int(q) - 9 for q in codes]
    if op == "Mul":
        expected = [[_multiply(a * b, s * t / u) for b in right] for a in left]
    else:
        twice, sign = 2 * max(s, t), -1 if op == "Sub" else 1
        first = [_multiply(a << 20, s / twice) for a in left]
        second = [sign * _multiply(b << 20, t / twice) for b in right]
        expected = [[_multiply(a + b, twice / (2**20 * u)) for b in second] for a in first]
    feeds = {"a": codes.astype(np.int8).reshape(256, 1), "b": codes.astype(np.int8).reshape(1, 256)}
    np.testing.assert_array_equal(_run(onnx_text(text), lowering, feeds), _clamped(np.asarray(expected), 2))
