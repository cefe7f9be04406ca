"""lower-qoperator: which node becomes what, bit for bit what ONNX Runtime makes of the Q/DQ graph itself."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxq
from onnxq.graph.numeric import Array
from onnxq.passes.lowering.lower_qoperator import LowerQoperator
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

from .fake_quantizer import FakeQuantizer, Scheme, shape_of

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

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


def quantized(model: ir.Model, seed: int = 0, dtype: str = "uint8") -> onnx.ModelProto:
    return FakeQuantizer(ir.to_proto(model), np.random.default_rng(seed), Scheme(dtype)).model


def lowered(qdq: onnx.ModelProto, *, contrib: bool = True) -> tuple[onnx.ModelProto, Outcome]:
    """Lower, check the file, and lower again, which must change nothing."""
    outcome = LowerQoperator(contrib).run(ir.from_proto(qdq), Context())
    proto = ir.to_proto(outcome.model)
    onnx.checker.check_model(proto, full_check=True)
    assert LowerQoperator(contrib).run(outcome.model, Context()).edits == 0
    return proto, outcome


def outputs(model: onnx.ModelProto, seed: int, *, optimize: bool) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for info in model.graph.input:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        drawn = rng.normal(size=shape_of(info))
        feeds[info.name] = (drawn > 0) if dtype == np.bool_ else drawn.astype(dtype)
    return Session(model, optimize=optimize, threads=1).run(feeds)


def inner(model: onnx.ModelProto) -> list[str]:
    border = ("QuantizeLinear", "DequantizeLinear")
    return [node.op_type for node in model.graph.node if node.op_type not in border]


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("contrib", [True, False], ids=["contrib", "standard"])
@pytest.mark.parametrize("case", CASES)
def test_an_operator_on_codes_is_what_the_runtime_fuses(
    onnx_text: Text, case: str, contrib: bool, dtype: str
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


@given(
    axes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    inner_size=st.integers(1, 9),
    columns=st.integers(1, 4),
    seed=st.integers(0, 10**6),
    contrib=st.booleans(),
    signed=st.booleans(),
)
@settings(max_examples=40)
def test_products_with_a_bias_round_the_exact_sum(
    axes: list[int], inner_size: int, columns: int, seed: int, contrib: bool, signed: bool
) -> None:
    """Whatever the form, a code is the nearest to z + s_x·s_w[n]/s_y·(Σ(q − z)·w + b), saturated."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(np.int8 if signed else np.uint8)
    ends = np.iinfo(dtype)
    x = rng.integers(ends.min, ends.max, (*axes, inner_size), dtype, endpoint=True)
    w = rng.integers(-127, 128, (inner_size, columns)).astype(np.int8)
    b = rng.integers(-(10**5), 10**5, columns).astype(np.int32)
    s_x, s_y = (np.float32(rng.uniform(0.01, 0.1)) for _ in range(2))
    s_w = rng.uniform(0.001, 0.01, columns).astype(np.float32)
    z_x, z_y = rng.integers(ends.min, ends.max, 2, dtype)
    zeros = np.zeros(columns, np.int8)
    arrays = {"s_x": s_x, "s_y": s_y, "s_w": s_w, "z_x": z_x, "z_y": z_y, "z_w": zeros, "w": w, "b": b}
    arrays |= {"s_b": s_x * s_w, "z_b": zeros.astype(np.int32)}
    shape, kind = [*axes, inner_size], onnx.helper.np_dtype_to_tensor_dtype(dtype)
    node = onnx.helper.make_node
    nodes = [
        node("DequantizeLinear", ["x", "s_x", "z_x"], ["xd"]),
        node("DequantizeLinear", ["w", "s_w", "z_w"], ["wd"], axis=1),
        node("DequantizeLinear", ["b", "s_b", "z_b"], ["bd"], axis=0),
        node("MatMul", ["xd", "wd"], ["m"]),
        node("Add", ["m", "bd"], ["a"]),
        node("QuantizeLinear", ["a", "s_y", "z_y"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", kind, shape)],
        [onnx.helper.make_tensor_value_info("y", kind, [*axes, columns])],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    imports = [onnx.helper.make_opsetid("", 19)]
    qdq = onnx.shape_inference.infer_shapes(
        onnx.helper.make_model(graph, opset_imports=imports, ir_version=9), strict_mode=True
    )
    made, _ = lowered(qdq, contrib=contrib)
    assert "DequantizeLinear" not in {n.op_type for n in made.graph.node}
    y = Session(made, threads=1).run({"x": x})["y"]
    sums = (x.astype(np.int64) - int(z_x)) @ w.astype(np.int64) + b
    exact = int(z_y) + np.float64(s_x) * s_w.astype(np.float64) / np.float64(s_y) * sums
    # float32 holds the multiplier to 2^-24, and values of up to 2^12 codes to 2^-11 of a code
    assert np.all(np.abs(y - np.clip(exact, ends.min, ends.max)) <= 0.5 + 2**-10)


def test_the_codes_end_where_a_clip_does(onnx_text: Text) -> None:
    """Bounds inside the range become Clip on codes; those at its ends vanish."""
    text = """g (float[1,2,4,4] x) => (float[1,2,4,4] y)
        <float sx = {0.5}, uint8 zx = {3}, int8[2,2,1,1] W = {1, -2, 3, -4}, float sw = {0.25},
         int8 zw = {0}, float sy = {0.125}, uint8 zy = {ZERO}, float low = {0.0}, float high = {HIGH}> {
        q = QuantizeLinear (x, sx, zx)
        xd = DequantizeLinear (q, sx, zx)
        wd = DequantizeLinear (W, sw, zw)
        c = Conv (xd, wd)
        r = Clip (c, low, high)
        qy = QuantizeLinear (r, sy, zy)
        y = DequantizeLinear (qy, sy, zy)
    }"""
    for zero, high, expected in ((0, 31.875, []), (0, 6.0, ["Clip"]), (9, 31.875, ["Clip"])):
        model = onnx_text(text.replace("ZERO", str(zero)).replace("HIGH", str(high)), 19)
        qdq = ir.to_proto(model)
        made, _ = lowered(qdq)
        assert inner(made) == ["QLinearConv", *expected]
        # powers of two: the float graph is exact, ties included
        np.testing.assert_array_equal(
            outputs(made, 1, optimize=False)["y"], outputs(qdq, 1, optimize=False)["y"]
        )


def test_an_operator_in_a_branch_is_lowered_too(rewrite: Rewrite) -> None:
    rewrite(
        "lower-qoperator",
        before="""g (bool c, uint8[1,4] q) => (uint8[1,4] y) <float s = {0.5}, uint8 z = {3}> {
            y = If (c) <
                then_branch = t () => (uint8[1,4] a) {
                    d = DequantizeLinear (q, s, z)
                    e = Add (d, d)
                    a = QuantizeLinear (e, s, z)
                },
                else_branch = f () => (uint8[1,4] b) { b = Identity (q) }
            >
        }""",
        after="""g (bool c, uint8[1,4] q) => (uint8[1,4] y) <float s, uint8 z> {
            y = If (c) <
                then_branch = t () => (uint8[1,4] a) {
                    a = com.microsoft.QLinearAdd (q, s, z, q, s, z, s, z)
                },
                else_branch = f () => (uint8[1,4] b) { b = Identity (q) }
            >
        }""",
        rtol=0,
        atol=0,
    )


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
def test_left_alone_with_a_reason(rewrite: Rewrite, case: str) -> None:
    text, reason = REFUSED[case]
    assert any(reason in skip.reason for skip in rewrite("lower-qoperator", text, None, types=True).skips)


def test_an_old_opset_is_an_error(onnx_text: Text) -> None:
    text = "g (float[1] x) => (uint8[1] y) <float s = {0.5}, uint8 z = {3}> { y = QuantizeLinear (x, s, z) }"
    with pytest.raises(onnxq.OnnxqError, match="needs opset 13 or later, the model has 12"):
        LowerQoperator().run(onnx_text(text, 12), Context())


def test_a_real_model_equals_the_runtimes_fusion(zoo: ModuleType) -> None:
    """Keyword spotting: nothing stays float, and every output bit is that of ONNX Runtime's own integers."""
    entry = zoo.load("kws_dscnn")
    samples = list(entry.calibration(8))
    qdq = onnxq.quantize(str(entry.float_model), samples, proof=0).model
    made, outcome = lowered(ir.to_proto(qdq))
    assert outcome.skips == ()
    assert [node.op_type for node in made.graph.node].count("DequantizeLinear") == 1
    before, after = (Session(m, threads=1) for m in (ir.to_proto(qdq), made))
    for feeds in samples:
        np.testing.assert_array_equal(before.run(feeds)["output"], after.run(feeds)["output"])
