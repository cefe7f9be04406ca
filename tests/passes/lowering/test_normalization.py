"""Layer normalization where integers are tight: long rows, constant rows, scales far from one."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.errors import CheckError
from onnxq.graph.numeric import Array
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

from .fake_quantizer import Scheme

Text = Callable[..., ir.Model]
Lower = Callable[..., onnx.ModelProto]

NORM = """
    g (float[8,LENGTH] x) => (float[8,LENGTH] y)
      <float s = {SCALE}, uint8 z = {17}, float t = {0.04}, uint8 u = {128},
       float[LENGTH] gamma, float[LENGTH] beta> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        n = LayerNormalization <epsilon = 0.00001> (d, gamma, beta)
        r = QuantizeLinear (n, t, u)
        y = DequantizeLinear (r, t, u)
    }"""


def _rows(length: int) -> Array:
    """Uniform, constant, almost constant, one outlier, two values, and small spreads."""
    rng = np.random.default_rng(length)
    rows = rng.integers(0, 256, (8, length))
    rows[1], rows[2], rows[3], rows[4] = 200, 17, 0, np.arange(length) % 2 * 255
    rows[2, 0], rows[3, -1] = 18, 255
    rows[5:] = rng.integers(100, [[102], [110], [130]], (3, length))
    return rows.astype(np.uint8)


@pytest.mark.parametrize("length", [2, 3, 64, 768, 4096])
@pytest.mark.parametrize("scale", [0.0005, 0.05, 4.0])
def test_long_and_flat_rows(onnx_text: Text, length: int, scale: float) -> None:
    text = NORM.replace("LENGTH", str(length)).replace("SCALE", str(scale))
    codes = _rows(length)
    real = (codes.astype(np.float32) - 17) * np.float32(scale)
    expected = Session(onnx_text(text), optimize=False, extra_outputs=["r"]).run({"x": real})["r"]
    strict = LowerInteger().run(onnx_text(text), Context()).model
    apart = np.abs(Session(strict, optimize=False).run({"x": codes})["y"].astype(int) - expected)
    assert apart.max() <= 1
    assert (apart == 0).mean() >= 0.995


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_rows_in_exact_arithmetic(lower: Lower, dtype: str) -> None:
    lower(
        "g (float[3,7] x) => (float[3,7] y) <float[7] G> { y = LayerNormalization (x, G) }",
        scheme=Scheme(dtype=dtype),
    )


def test_an_epsilon_that_does_not_fit_64_bits_is_refused(onnx_text: Text) -> None:
    text = NORM.replace("LENGTH", "64").replace("SCALE", "0.000000001")
    with pytest.raises(CheckError, match="need more than 64 bits"):
        LowerInteger().run(onnx_text(text), Context())
