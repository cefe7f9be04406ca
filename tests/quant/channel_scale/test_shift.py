"""Shifts: any amount keeps the outputs, the chosen one centres every channel, and nothing else is touched."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.calibration.statistics import Statistic
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.context import Context
from onnxq.quant.channel_scale.shift import Shift, apply_shifts, choose_shifts, find_places
from onnxq.quant.channel_scale.spread import Spread
from onnxq.runtime import Session

Text = Callable[..., ir.Model]
LINEAR = ("Conv", "Gemm", "MatMul", "ConvTranspose")
NORM = "n = LayerNormalization (x, gain, offset)"
SHIFTED = {
    "layer norm, products with and without a bias": f"""g (float[2,7,4] x) => (float[2,7,3] y, float[2,7,3] z)
        <float[4] gain, float[4] offset, float[4,3] Q, float[4,3] K, float[3] b> {{
        {NORM} q = MatMul (n, Q) y = Add (b, q) z = MatMul (n, K) }}""",
    "layer norm without an offset": """g (float[7,4] x) => (float[7,3] y) <float[4] gain, float[4,3] Q> {
        n = LayerNormalization (x, gain) y = Gemm <alpha = 0.5, beta = 2.0> (n, Q) }""",
    "a residual reads the norm too": f"""g (float[7,4] x) => (float[7,4] y)
        <float[4] gain, float[4] offset, float[4,4] W> {{ {NORM} m = MatMul (n, W) y = Add (m, n) }}""",
    "Gemm in all layouts": """g (float[3,5] x) => (float[2,3] y)
        <float[4,5] A, float[1,4] a, float[4,6] B, float[2,6] C, float[3,6] k> {
        p = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, A, a) r = Gemm <alpha = 3.0, beta = 0.5> (p, B, k)
        t = Transpose (r) y = MatMul (C, t) }""",
    "Gemm of a transposed value": """g (float[3,5] x) => (float[3,2] y) <float[5,4] A, float[4] a,
        float[4,2] B, float[2] b> {
        m = MatMul (x, A) p = Add (m, a) t = Transpose (p) y = Gemm <transA = 1> (t, B, b) }""",
    "weight on the left": """g (float[2,4,5] x) => (float[2,3,5] y) <float[4] gain, float[4] offset,
        float[3,4] W> { n = InstanceNormalization (x, gain, offset) y = MatMul (W, n) }""",
    "Convs, grouped and strided": """g (float[1,4,8,8] x) => (float[1,6,3,3] y)
        <float[4,2,1,1] A, float[6,2,3,3] D, float[6] d> {
        c = Conv <group = 2, pads = [1,1,1,1]> (x, A) p = MaxPool <kernel_shape = [2,2]> (c)
        y = Conv <group = 2, strides = [3,3]> (p, D, d) }""",
    "batch norm, pooled with padding and flattened": """g (float[1,4,6,6] x) => (float[1,3] y)
        <float[4] gain, float[4] offset, float[4] mean, float[4] var, float[16,3] B> {
        m = BatchNormalization (x, gain, offset, mean, var)
        p = AveragePool <kernel_shape = [3,3], strides = [4,4], pads = [1,1,1,1]> (m)
        f = Flatten (p) y = MatMul (f, B) }""",
    "split between two readers": """g (float[1,4,5,5] x) => (float[1,2,5,5] y, float[1,3,5,5] z)
        <float[4,4,1,1] A, float[2,3,1,1] B, float[3,1,1,1] C, int64[2] s = {3, 1}> {
        c = Conv (x, A) p, q = Split <axis = 1> (c, s) y = Conv (p, B) z = Conv (q, C) }""",
    "constant per channel added to anything": """g (float[1,4,5,5] x) => (float[1,2,5,5] y) <float[4,1,1] k,
        float[2,4,1,1] B> { s = Sigmoid (x) c = Add (k, s) y = Conv (c, B) }""",
}


def _typed(model: ir.Model) -> ir.Model:
    return InferShapes().run(model, Context()).model


def _outputs(model: ir.Model, seed: int = 0) -> dict[str, np.ndarray]:
    rng, session = np.random.default_rng(seed), Session(model, optimize=False, threads=1)
    sizes = {port.name: tuple(s if isinstance(s, int) else 2 for s in port.shape) for port in session.inputs}
    return session.run({name: rng.standard_normal(s).astype(np.float32) for name, s in sizes.items()})


@pytest.mark.parametrize("name", SHIFTED)
def test_any_shift_keeps_the_outputs(name: str, onnx_text: Text) -> None:
    model = _typed(onnx_text(SHIFTED[name]))
    before = _outputs(model)
    places = find_places(model.graph, LINEAR, split=True)
    assert places
    rw, rng = Rewriter(model), np.random.default_rng(1)
    apply_shifts([Shift(p, rng.uniform(-3, 3, p.maker.channels)) for p in places], rw)
    rw.finish()
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for key, expected in before.items():
        atol = 1e-5 * max(np.abs(expected).max(), 30.0)
        np.testing.assert_allclose(_outputs(model)[key], expected, rtol=0, atol=atol, err_msg=key)


REFUSED = {
    "padding is not shifted": """g (float[1,3,8,8] x) => (float[1,2,8,8] y) <float[4,3,1,1] A,
        float[2,4,3,3] B> { c = Conv (x, A) y = Conv <pads = [1,1,1,1]> (c, B) }""",
    "padding by name": """g (float[1,3,8,8] x) => (float[1,2,8,8] y) <float[4,3,1,1] A,
        float[2,4,3,3] B> { c = Conv (x, A) y = Conv <auto_pad = "SAME_UPPER"> (c, B) }""",
    "a transposed convolution counts differently at borders": """g (float[1,3,8,8] x) => (float[1,2,10,10] y)
        <float[4,3,1,1] A, float[4,2,3,3] B> { c = Conv (x, A) y = ConvTranspose (c, B) }""",
    "padded zeros in a mean": """g (float[1,3,8,8] x) => (float[1,2,8,8] y) <float[4,3,1,1] A, float[2,4,1,1]
        B> { c = Conv (x, A) p = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1>
        (c) y = Conv (p, B) }""",
    "a function that is not linear": """g (float[1,3,8,8] x) => (float[1,2,8,8] y) <float[4,3,1,1] A,
        float[2,4,1,1] B> { c = Conv (x, A) s = Relu (c) y = Conv (s, B) }""",
    "read by a sum too": """g (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,3,1,1] A, float[4,4,1,1] B> {
        c = Conv (x, A) d = Conv (c, B) y = Add (c, d) }""",
    "an output": """g (float[1,3,8,8] x) => (float[1,4,8,8] c, float[1,4,8,8] y) <float[4,3,1,1] A,
        float[4,4,1,1] B> { c = Conv (x, A) y = Conv (c, B) }""",
    "a bias computed at run time": """g (float[1,3,8,8] x, float[2] b) => (float[1,2,8,8] y) <float[4,3,1,1]
        A, float[2,4,1,1] B> { c = Conv (x, A) y = Conv (c, B, b) }""",
    "a Gemm that drops its bias": """g (float[5,3] x) => (float[5,2] y) <float[3,4] A, float[4,2] B> {
        c = Gemm (x, A) y = Gemm <beta = 0.0> (c, B) }""",
    "a product with itself": """g (float[4,4] x) => (float[4,4] y) <float[4,4] A, float[4] a> {
        c = Gemm (x, A, a) y = MatMul (c, c) }""",
    "a body reads it": """g (float[1,3,8,8] x, bool k) => (float[1,2,8,8] y, float[1,4,8,8] z)
        <float[4,3,1,1] A, float[2,4,1,1] B> { c = Conv (x, A) y = Conv (c, B)
        z = If (k) <then_branch = t () => (float[1,4,8,8] u) { u = Relu (c) },
                    else_branch = e () => (float[1,4,8,8] v) { v = Neg (c) }> }""",
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_a_shift_would_change_the_outputs_there_is_none(name: str, onnx_text: Text) -> None:
    assert not find_places(_typed(onnx_text(REFUSED[name])).graph, LINEAR)


def _fixed(low: list[float], high: list[float]) -> Callable[..., dict[str, Statistic]]:
    """Statistics as if the channels had these bounds."""

    def observe(model: ir.Model, wants: dict[str, Statistic]) -> dict[str, Statistic]:
        for spread in wants.values():
            assert isinstance(spread, Spread)
            for bound in (low, high):
                spread.update(np.array(bound, np.float32).reshape(spread.shape))
        return wants

    return observe


def test_the_shift_is_the_middle_and_behind_a_relu_the_least(onnx_text: Text) -> None:
    text = """g (float[1,3,8,8] x) => (float[1,2,8,8] y) <float[4,3,1,1] A, float[2,4,1,1] B> {
        c = Conv (x, A) RELU y = Conv (s, B) }"""
    observe = _fixed([100.0, -3, 0, 5], [104.0, 1, 0, 5])
    found = {}
    for op, rectified in (("Identity", False), ("Relu", True)):
        model = _typed(onnx_text(text.replace("RELU", f"s = {op} (c)")))
        places = find_places(model.graph, LINEAR, rectified=rectified)
        found[op] = [shift.amount.tolist() for shift in choose_shifts(model, places, observe, 3.0)]
    assert found == {"Identity": [[102, -1, 0, 5]], "Relu": [[100, 0, 0, 5]]}


def test_a_centred_value_is_left_alone(onnx_text: Text) -> None:
    model = _typed(onnx_text(SHIFTED["Convs, grouped and strided"]))
    places = find_places(model.graph, LINEAR)
    assert not choose_shifts(model, places, _fixed([-1.0, -9, -2, 0], [1.0, 9, 2, 0]), 0.5)
