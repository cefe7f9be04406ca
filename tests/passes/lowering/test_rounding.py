"""Half-way between two codes: where all scales are powers of two, every bit is known."""

from collections.abc import Callable

import onnx
import pytest

from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.quant.fixed_point import Rounding

from .fake_quantizer import Scheme

Lower = Callable[..., onnx.ModelProto]

CASES = {
    "conv": """
        g (float[1,3,6,6] x) => (float[1,4,6,6] y) <float[4,3,3,3] W, float[4] B> {
            _c = Conv <pads = [1,1,1,1]> (x, W, B)
            y = Relu (_c)
        }""",
    "gemm": "g (float[5,8] x) => (float[5,16] y) <float[8,16] W, float[16] B> { y = Gemm (x, W, B) }",
    "add and sub": """
        g (float[2,3,8] a, float[3,1] b) => (float[2,3,8] y, float[2,3,8] z) <float[8] C> {
            _s = Add (a, b)
            y = Relu (_s)
            z = Sub (C, y)
        }""",
    "mul": "g (float[1,3,4,4] a, float[1,3,1,1] b) => (float[1,3,4,4] y) { y = Mul (a, b) }",
    "pools": """
        g (float[1,2,8,8] x) => (float[1,2,4,4] y, float[1,2,1,1] z) {
            y = AveragePool <kernel_shape = [2,2], strides = [2,2]> (x)
            z = GlobalAveragePool (y)
        }""",
    "mean of any length": "g (float[2,64,H,W] x) => (float[2,64,1,1] y) { y = GlobalAveragePool (x) }",
    "PRelu": """
        g (float[2,3,8,8] x) => (float[2,3,8,8] y) <float[3,1,1] f_slope = {0.5, 0.25, -0.125}> {
            y = PRelu (x, f_slope)
        }""",
}


@pytest.mark.parametrize("rounding", [Rounding.HALF_EVEN, Rounding.HALF_UP, Rounding.HALF_AWAY])
@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_every_tie_is_rounded_as_asked(
    lower: Lower, case: str, dtype: str, dialect: Dialect, rounding: Rounding
) -> None:
    if dialect == Dialect.INT32 and case == "mean of any length":
        pytest.skip("it needs int64")
    lowering = LowerInteger(rounding=rounding, dialect=dialect)
    lower(CASES[case], scheme=Scheme(dtype=dtype, power_of_two=True), lowering=lowering)


def test_only_sums_that_can_tie_pay_for_it(lower: Lower) -> None:
    text, scheme = CASES["gemm"], Scheme(power_of_two=True)
    plain = lower(text)
    tying = lower(text, scheme=scheme)
    upward = lower(text, scheme=scheme, lowering=LowerInteger(rounding=Rounding.HALF_UP))
    assert [len(model.graph.node) for model in (plain, tying, upward)] == [7, 12, 7]
