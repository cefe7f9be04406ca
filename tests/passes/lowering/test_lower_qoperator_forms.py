"""lower-qoperator: what becomes of each operator, bit for bit what ONNX Runtime makes of the Q/DQ graph."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from .qoperators import inner, lowered, outputs, quantized

CASES = {
    "conv, padded, with bias and Relu": (
        "g (float[1,3,6,6] x) => (float[1,4,6,6] y) <float[4,3,3,3] W, float[4] B> "
        "{ _c = Conv <pads = [1,1,1,1]> (x, W, B) y = Relu (_c) }",
        "QLinearConv Clip",
        "QLinearConv Clip",
    ),
    "conv, depthwise, strided": (
        "g (float[1,4,5,5] x) => (float[1,4,3,3] y) <float[4,1,3,3] W> "
        "{ y = Conv <group = 4, pads = [1,1,1,1], strides = [2,2]> (x, W) }",
        "QLinearConv",
        "QLinearConv",
    ),
    "conv, one axis, its bias added behind it": (
        "g (float[2,4,9] x) => (float[2,6,7] y) <float[6,2,3] W, float[6,1] f_B> "
        "{ _c = Conv <group = 2> (x, W) y = Add (_c, f_B) }",
        "QLinearConv",
        "QLinearConv",
    ),
    "gemm": (
        "g (float[3,8] x) => (float[3,4] y) <float[8,4] W, float[4] B> { y = Gemm (x, W, B) }",
        "QGemm",
        "Unsqueeze Transpose QLinearConv Transpose Squeeze",
    ),
    "gemm, transposed weight": (
        "g (float[3,8] x) => (float[3,4] y) <float[4,8] W, float[4] B> { y = Gemm <transB = 1> (x, W, B) }",
        "QGemm",
        "Unsqueeze Transpose QLinearConv Transpose Squeeze",
    ),
    "gemm without a bias": (
        "g (float[3,8] x) => (float[3,4] y) <float[8,4] W> { y = Gemm (x, W) }",
        "QGemm",
        "QLinearMatMul",
    ),
    "matmul": (
        "g (float[2,3,8] x) => (float[2,3,5] y) <float[8,5] W> { y = MatMul (x, W) }",
        "QLinearMatMul",
        "QLinearMatMul",
    ),
    "matmul of matrices with a bias": (
        "g (float[3,8] x) => (float[3,5] y) <float[8,5] W, float[5] f_B> "
        "{ _m = MatMul (x, W) y = Add (f_B, _m) }",
        "QGemm",
        "Unsqueeze Transpose QLinearConv Transpose Squeeze",
    ),
    "matmul of three axes with a bias": (
        "g (float[2,3,8] x) => (float[2,3,5] y) <float[8,5] W, float[5] f_B> "
        "{ _m = MatMul (x, W) y = Add (_m, f_B) }",
        "Transpose QLinearConv Transpose",
        "Transpose QLinearConv Transpose",
    ),
    "matmul of two activations": (
        "g (float[2,4,3,8] a, float[2,4,8,3] b) => (float[2,4,3,3] y) { y = MatMul (a, b) }",
        "QLinearMatMul",
        "QLinearMatMul",
    ),
    "add with broadcasting": (
        "g (float[2,3,4] a, float[3,1] b) => (float[2,3,4] y) { y = Add (a, b) }",
        "QLinearAdd",
        "",
    ),
    "mul by a constant": (
        "g (float[2,3,4] a) => (float[2,3,4] y) <float[4] C> { y = Mul (a, C) }",
        "QLinearMul",
        "",
    ),
    "sigmoid": ("g (float[2,9] x) => (float[2,9] y) { y = Sigmoid (x) }", "QLinearSigmoid", ""),
    "leaky relu": (
        "g (float[2,9] x) => (float[2,9] y) { y = LeakyRelu <alpha = 0.1> (x) }",
        "QLinearLeakyRelu",
        "",
    ),
    "softmax": ("g (float[3,5] x) => (float[3,5] y) { y = Softmax <axis = 1> (x) }", "QLinearSoftmax", ""),
    "average pool": (
        "g (float[1,2,6,6] x) => (float[1,2,3,3] y) "
        "{ y = AveragePool <kernel_shape = [3,3], strides = [2,2], pads = [0,0,1,1]> (x) }",
        "QLinearAveragePool",
        "",
    ),
    "global average pool": (
        "g (float[2,3,5,5] x) => (float[2,3,1,1] y) { y = GlobalAveragePool (x) }",
        "QLinearGlobalAveragePool",
        "",
    ),
    "mean over the image": (
        "g (float[2,3,5,5] x) => (float[2,3,1,1] y) <int64[2] axes = {-1, 2}> { y = ReduceMean (x, axes) }",
        "QLinearGlobalAveragePool",
        "",
    ),
    "mean over the image, axes dropped": (
        "g (float[2,3,5,5] x) => (float[2,3] y) <int64[2] axes = {2, 3}> "
        "{ y = ReduceMean <keepdims = 0> (x, axes) }",
        "QLinearGlobalAveragePool Squeeze",
        "",
    ),
    "concat": (
        "g (float[1,2,3] a, float[1,4,3] b) => (float[1,6,3] y) { y = Concat <axis = 1> (a, b) }",
        "QLinearConcat",
        "",
    ),
    "where": (
        "g (bool[2,3] c, float[2,3] a, float[2,3] b) => (float[2,3] y) { y = Where (c, a, b) }",
        "QLinearWhere",
        "",
    ),
    "moves": (
        "g (float[1,2,6,6] x) => (float[9,2] y) <int64[2] shape = {2, 9}> { "
        "p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x) r = Reshape (p, shape) "
        "y = Transpose <perm = [1,0]> (r) }",
        "MaxPool Reshape Transpose",
        "MaxPool Reshape Transpose",
    ),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("contrib", [True, False], ids=["contrib", "standard"])
@pytest.mark.parametrize("case", CASES)
def test_an_operator_on_codes_is_what_the_runtime_fuses(
    onnx_text: Callable[..., ir.Model], case: str, contrib: bool, dtype: str
) -> None:
    text, with_contrib, standard = CASES[case]
    qdq = quantized(onnx_text(text, 19), dtype=dtype)
    made, outcome = lowered(qdq, contrib=contrib)
    expected = with_contrib if contrib else standard
    if not expected:
        assert "contrib=true" in outcome.skips[0].reason
        assert inner(made) == inner(qdq)
        return
    assert inner(made) == expected.split()
    assert outcome.skips == ()
    for seed in range(3):
        fused, written, codes = (
            outputs(qdq, seed, optimize=True)["y"],
            outputs(qdq, seed, optimize=False)["y"],
            outputs(made, seed, optimize=True)["y"],
        )
        np.testing.assert_array_equal(codes, fused)
        step = np.min(np.diff(np.unique(written)))  # a tie may round to the next code, and only that
        np.testing.assert_allclose(codes, written, atol=1.001 * step, rtol=0)
        assert np.mean(codes != written) <= 0.1
