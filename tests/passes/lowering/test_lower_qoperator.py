"""lower-qoperator: exact sums of products, where codes end, branches, and a real model."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxq
from onnxq.pipeline.base import Outcome
from onnxq.runtime import Session

from .qoperators import inner, lowered, outputs

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]


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
