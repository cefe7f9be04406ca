"""Every operator keeps the function of the model under any scales, and refuses where it could not."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.graph.numeric import Array
from onnxq.quant.channel_scale.trace import Rules, Trace
from onnxq.runtime import Session

Text = Callable[..., ir.Model]
ScaleRandomly = Callable[..., tuple[Trace, ir.Model]]

HEAD = """g (float[1,3,8,8] x) => (float[1,2,h,w] y)
    <float[4,3,3,3] A, float[4] a, float[2,4,1,1] B, float[2] b, float[4,4,1,1] S> {"""

BETWEEN_CONVS = {
    "nothing": "d = Identity (c)",
    "Relu": "d = Relu (c)",
    "LeakyRelu": "d = LeakyRelu <alpha = 0.2> (c)",
    "MaxPool": "d = MaxPool <kernel_shape = [2,2], strides = [2,2]> (c)",
    "AveragePool with padding": "d = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (c)",
    "GlobalAveragePool": "d = GlobalAveragePool (c)",
    "Swish": "d = Swish <alpha = 1.5> (c)",
    "HardSwish": "d = HardSwish (c)",
    "Gelu": "d = Gelu (c)",
    "Clip": "l = Constant <value_float = 0.0> () u = Constant <value_float = 0.7> () d = Clip (c, l, u)",
    "Clip at both ends": """l = Constant <value_float = -0.3> () u = Constant <value_float = 0.7> () d =
    Clip (c, l, u)""",
    "Clip without upper bound": "l = Constant <value_float = -0.3> () d = Clip (c, l)",
    "residual Add": "r = Relu (c) d = Add (c, r)",
    "Max": "n = Neg (c) d = Max (c, n)",
    "constant Add": "k = Constant <value = float[4,1,1] {1.0, 2.0, -1.0, 0.5}> () d = Add (c, k)",
    "constant Sub from the left": "k = Constant <value_float = 0.5> () d = Sub (k, c)",
    "constant Mul": "k = Constant <value = float[4,1,1] {1.0, 2.0, -1.0, 0.5}> () d = Mul (c, k)",
    "constant Div": "k = Constant <value = float[4,1,1] {1.0, 2.0, -1.0, 0.5}> () d = Div (c, k)",
    "a gate from another branch": """p = GlobalAveragePool (c) f = Conv (p, S) s = Sigmoid (f) r = Relu (c)
    d = Mul (r, s)""",
    "Concat and Split": "p, q = Split <axis = 1, num_outputs = 2> (c) d = Concat <axis = 1> (q, p)",
    "Concat along rows": "d = Concat <axis = 2> (c, c)",
    "Transpose there and back": """t = Transpose <perm = [0,2,3,1]> (c) r = Relu (t)
        d = Transpose <perm = [0,3,1,2]> (r)""",
    "channel shuffle": """s = Constant <value = int64[5] {1, 2, 2, 6, 6}> () r = Reshape (c, s)
        t = Transpose <perm = [0,2,1,3,4]> (r) z = Constant <value = int64[4] {1, 4, 6, 6}> () d = Reshape
        (t, z)""",
    "Pad": "s = Constant <value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}> () d = Pad (c, s)",
    "Slice of channels": """s = Constant <value = int64[1] {3}> () e = Constant <value = int64[1] {-9}> ()
        i = Constant <value = int64[1] {1}> () t = Constant <value = int64[1] {-1}> () d = Slice (c, s, e,
        i, t)""",
    "Resize": 's = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> () d = Resize <mode = "linear"> (c, , s)',
    "ReduceMean": "i = Constant <value = int64[2] {2, 3}> () d = ReduceMean (c, i)",
}
SCALED = {
    f"Conv, {name}, Conv": f"{HEAD} c = Conv (x, A, a) {body} y = Conv (d, B, b) }}"
    for name, body in BETWEEN_CONVS.items()
} | {
    "depthwise": """g (float[1,3,8,8] x) => (float[1,2,4,4] y)
        <float[4,3,3,3] A, float[4] a, float[4,1,3,3] D, float[2,4,1,1] B> {
        c = Conv (x, A, a) d = Conv <group = 4> (c, D) y = Conv (d, B) }""",
    "grouped with two filters a group": """g (float[1,4,8,8] x) => (float[1,6,6,6] y)
        <float[4,2,1,1] A, float[4] a, float[6,2,3,3] D> { c = Conv <group = 2> (x, A, a) y = Conv <group =
        2> (c, D) }""",
    "ConvTranspose, grouped": """g (float[1,4,5,5] x) => (float[1,2,h,w] y)
        <float[4,2,1,1] A, float[4,3,2,2] T, float[6] t, float[2,6,1,1] B> {
        c = Conv <group = 2> (x, A) d = ConvTranspose <group = 2> (c, T, t) y = Conv (d, B) }""",
    "Gemm and MatMul in all layouts": """g (float[3,5] x) => (float[2,3] y)
        <float[4,5] A, float[1,4] a, float[4,6] B, float[2,6] C> {
        p = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, A, a) q = Relu (p) r = Gemm (q, B)
        t = Transpose (r) y = MatMul (C, t) }""",
    "Gemm of a transposed value": """g (float[3,5] x) => (float[3,2] y) <float[5,4] A, float[4,2] B,
    float[2] b> {
        p = MatMul (x, A) t = Transpose (p) y = Gemm <transA = 1> (t, B, b) }""",
    "MatMul and bias, N-D": """g (float[2,7,5] x) => (float[2,7,3] y) <float[5,4] A, float[4] a, float[4,3]
    B> {
        p = MatMul (x, A) q = Add (p, a) r = Relu (q) y = MatMul (r, B) }""",
    "layer norm read by three": """g (float[2,7,4] x) => (float[2,7,3] y)
        <float[4] gain, float[4] offset, float[4,3] Q, float[4,3] K, float[4,3] V> {
        n = LayerNormalization (x, gain, offset) q = MatMul (n, Q) k = MatMul (n, K) v = MatMul (n, V)
        y = Sum (q, k, v) }""",
    "group and batch norm": """g (float[1,4,6,6] x) => (float[1,3,6,6] y)
        <float[4] gain, float[4] offset, float[4] mean, float[4] var, float[3,4,1,1] B> {
        n = InstanceNormalization (x, gain, offset)
        m = BatchNormalization (n, gain, offset, mean, var) y = Conv (m, B) }""",
    "attention": """g (float[1,5,8] x) => (float[1,5,3] y)
        <float[8,8] Q, float[8,8] K, float[8,8] V, float[8,3] O, int64[4] heads = {1, 5, 2, 4}, int64[3]
        flat = {1, 5, 8}> {
        q = MatMul (x, Q) k = MatMul (x, K) v = MatMul (x, V)
        q4 = Reshape (q, heads) k4 = Reshape (k, heads) v4 = Reshape (v, heads)
        qt = Transpose <perm = [0,2,1,3]> (q4) kt = Transpose <perm = [0,2,3,1]> (k4) vt = Transpose <perm =
        [0,2,1,3]> (v4)
        s = MatMul (qt, kt) p = Softmax (s) c = MatMul (p, vt)
        ct = Transpose <perm = [0,2,1,3]> (c) f = Reshape (ct, flat) y = MatMul (f, O) }""",
    "embedding": """g (int64[2,5] x) => (float[2,5,3] y) <float[9,4] T, float[4,3] B> { e = Gather (T, x) y
    = MatMul (e, B) }""",
    "residual stream into layer norm": """g (float[2,7,5] x) => (float[2,7,3] y)
        <float[5,4] A, float[4,4] B, float[4] gain, float[4] offset, float[4,3] C> {
        p = MatMul (x, A) q = MatMul (p, B) r = Add (p, q) n = LayerNormalization (r, gain, offset) y =
        MatMul (n, C) }""",
}


@pytest.mark.parametrize("name", SCALED)
def test_any_scales_keep_the_outputs(name: str, onnx_text: Text, scale_randomly: ScaleRandomly) -> None:
    model = onnx_text(SCALED[name], 24)
    found, scaled = scale_randomly(model, Rules(restore=True))
    assert found.count >= 4, "the channels between the two linear operators can be scaled"
    _assert_same(model, scaled)


REFUSED = {
    "an output": "g (float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] A> { y = Conv (x, A) }",
    "a function that is not homogeneous": """g (float[1,3,8,8] x) => (float[1,2,6,6] y) <float[4,3,3,3] A,
    float[2,4,1,1] B> {
        c = Conv (x, A) d = Sigmoid (c) y = Conv (d, B) }""",
    "an operator that is not known": """g (float[1,3,8,8] x) => (float[1,2,6,6] y) <float[4,3,3,3] A,
    float[2,4,1,1] B> {
        c = Conv (x, A) d = my.Thing (c) y = Conv (d, B) }""",
    "a product of two scaled values": """g (float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] A> {
        c = Conv (x, A) y = Mul (c, c) }""",
    "Add of a value that has no scale": """g (float[1,3,8,8] x, float[1,4,6,6] z) => (float[1,2,6,6] y)
        <float[4,3,3,3] A, float[2,4,1,1] B> { c = Conv (x, A) d = Add (c, z) y = Conv (d, B) }""",
    "a weight computed at run time": """g (float[1,3,8,8] x, float[4,3,3,3] A) => (float[1,2,6,6] y)
    <float[2,4,1,1] B> {
        c = Conv (x, A) y = Conv (c, B) }""",
    "Pad with another value than zero": f"""{HEAD} c = Conv (x, A, a) s = Constant <value = int64[8]
    {{0,0,1,1,0,0,1,1}}> ()
        k = Constant <value_float = 1.0> () d = Pad (c, s, k) e = Sigmoid (d) y = Conv (d, B) }}""",
    "a mean over the channels": """g (float[1,3,8,8] x) => (float[1,1,6,6] y) <float[4,3,3,3] A> {
        c = Conv (x, A) i = Constant <value = int64[1] {1}> () y = ReduceMean (c, i) }""",
    "Softmax": """g (float[2,7,5] x) => (float[2,7,3] y) <float[5,4] A, float[4,3] B> {
        p = MatMul (x, A) q = Softmax (p) y = MatMul (q, B) }""",
    "Gelu by tanh": """g (float[2,7,5] x) => (float[2,7,3] y) <float[5,4] A, float[4,3] B> {
        p = MatMul (x, A) q = Gelu <approximate = "tanh"> (p) y = MatMul (q, B) }""",
    "a number divided by it": """g (float[1,3,8,8] x) => (float[1,2,6,6] y) <float[4,3,3,3] A,
    float[2,4,1,1] B> {
        c = Conv (x, A) k = Constant <value_float = 1.0> () d = Div (k, c) y = Conv (d, B) }""",
    "the input of a layer norm": """g (float[2,7,5] x) => (float[2,7,4] y) <float[5,4] A, float[4] gain> {
        p = MatMul (x, A) y = LayerNormalization (p, gain) }""",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_take_a_scale_gets_none(
    name: str, onnx_text: Text, scale_randomly: ScaleRandomly
) -> None:
    model = onnx_text(REFUSED[name], 24)
    found, _ = scale_randomly(model)
    assert not found.ids


def test_a_body_that_reads_a_value_keeps_it(onnx_text: Text, scale_randomly: ScaleRandomly) -> None:
    model = onnx_text("""g (float[1,3,8,8] x, bool k) => (float[1,2,6,6] y, float[1,4,6,6] z)
        <float[4,3,3,3] A, float[2,4,1,1] B> {
        c = Conv (x, A) y = Conv (c, B)
        z = If (k) <then_branch = t () => (float[1,4,6,6] u) { u = Relu (c) },
                    else_branch = e () => (float[1,4,6,6] v) { v = Neg (c) }> }""")
    found, _ = scale_randomly(model)
    assert not found.ids


def test_a_shared_weight_is_split(onnx_text: Text, scale_randomly: ScaleRandomly) -> None:
    model = onnx_text("""g (float[2,4] x) => (float[2,4] y, float[2,4] z) <float[4,4] W> {
        a = MatMul (x, W) b = Relu (a) y = MatMul (b, W) z = MatMul (x, W) }""")
    found, scaled = scale_randomly(model)
    assert found.count == 4
    weights = {id(node.inputs[1]) for node in scaled.graph if node.op_type == "MatMul"}
    assert len(weights) == 3, "each reader has its own"
    _assert_same(model, scaled)


def test_a_mul_is_inserted_where_nothing_takes_the_scale(
    onnx_text: Text, scale_randomly: ScaleRandomly
) -> None:
    model = onnx_text("""g (float[2,4] x) => (float[2,3] y, float[2,3] z, float[2,4] r)
        <float[4,3] A, float[4,3] B> { s = Sigmoid (x) y = MatMul (s, A) z = MatMul (s, B) r = Relu (s) }""")
    found, scaled = scale_randomly(model, insert=("MatMul",))
    assert found.count == 4
    assert [node.op_type for node in scaled.graph] == ["Sigmoid", "Mul", "MatMul", "MatMul", "Relu"]
    _assert_same(model, scaled)


def _assert_same(before: ir.Model, after: ir.Model) -> None:
    """To float32 rounding: 1e-5 relative to the largest output."""
    onnx.checker.check_model(ir.to_proto(after), full_check=True)
    was, now = (_outputs(model) for model in (before, after))
    for name, expected in was.items():
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(
            now[name], expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=name
        )


def _outputs(model: ir.Model) -> dict[str, Array]:
    from onnxq.passes.lowering.expand_new_operators import ExpandNewOperators
    from onnxq.pipeline.context import Context

    runnable = ExpandNewOperators(opset=21).run(model.clone(), Context()).model
    session, rng = Session(runnable, optimize=False, threads=1), np.random.default_rng(1)
    feeds = {}
    for port in session.inputs:
        shape = tuple(size if isinstance(size, int) else 2 for size in port.shape)
        drawn = rng.integers(0, 2, shape) if port.dtype.kind in "ib" else rng.standard_normal(shape)
        feeds[port.name] = np.asarray(drawn, port.dtype)
    return session.run(feeds)
