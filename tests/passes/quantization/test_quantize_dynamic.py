"""quantize-dynamic: what it writes, how near it stays to float, and that ONNX Runtime fuses it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxq.errors import PassError
from onnxq.graph.numeric import Array, FloatArray
from onnxq.passes.quantization.quantize_dynamic import QuantizeDynamic
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

MATMUL = "g (float[S,6] x) => (float[S,3] y) <float[6,3] W> { y = MatMul (x, W) }"


def matmul(weight: FloatArray) -> ir.Model:
    node = onnx.helper.make_node("MatMul", ["x", "W"], ["y"])
    kinds = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["S", size])
        for name, size in (("x", weight.shape[0]), ("y", weight.shape[1]))
    ]
    graph = onnx.helper.make_graph(
        [node], "g", kinds[:1], kinds[1:], [onnx.numpy_helper.from_array(weight, "W")]
    )
    imports = [onnx.helper.make_opsetid("", 19)]
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=imports, ir_version=9))


def quantized(model: ir.Model, **options: bool) -> onnx.ModelProto:
    outcome = QuantizeDynamic(**options).run(model, Context())
    assert QuantizeDynamic(**options).run(outcome.model, Context()).edits == 0
    proto = ir.to_proto(outcome.model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(model: onnx.ModelProto, x: Array) -> Array:
    return Session(model, optimize=False, threads=1).run({"x": x})["y"]


def test_a_product_per_tensor(rewrite: Rewrite) -> None:
    rewrite(
        "quantize-dynamic",
        before="g (float[2,6] x) => (float[2,3] y) <float[6,3] W> { y = MatMul (x, W) }",
        after="""g (float[2,6] x) => (float[2,3] y) <int8[6,3] Wq, int8 zw, float[3] sw> {
            q, s, z = DynamicQuantizeLinear (x)
            sums = MatMulInteger (q, Wq, z, zw)
            real = Cast <to = 1> (sums)
            scale = Mul (s, sw)
            y = Mul (real, scale)
        }""",
        rtol=0.02,
        atol=0.05,
    )


def test_a_product_per_token(rewrite: Rewrite) -> None:
    rewrite(
        "quantize-dynamic{per_token=true}",
        before="g (float[2,6] x) => (float[2,3] y) <float[6,3] W> { y = MatMul (x, W) }",
        after="""g (float[2,6] x) => (float[2,3] y)
            <int8[6,3] Wq, int8 zw, float[3] sw, int64[1] axis, int64[1] zero, int64[1] one, float step,
             float least, float unit, uint8 middle> {
            size = Abs (x)
            most = ReduceMax <keepdims = 1> (size, axis)
            largest = Slice (most, zero, one, axis)
            wide = Mul (largest, step)
            s = Max (wide, least)
            steps = Div (x, s)
            q = QuantizeLinear (steps, unit, middle)
            sums = MatMulInteger (q, Wq, middle, zw)
            real = Cast <to = 1> (sums)
            rows = Mul (real, s)
            y = Mul (rows, sw)
        }""",
        rtol=0.02,
        atol=0.05,
    )


def test_readers_of_one_tensor_share_its_codes(rewrite: Rewrite) -> None:
    rewrite(
        "quantize-dynamic",
        before="""g (float[2,6] x) => (float[2,3] y, float[2,3] u) <float[6,3] W, float[3,6] V, float[3] b> {
            y = MatMul (x, W)
            u = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, V, b)
        }""",
        after="""g (float[2,6] x) => (float[2,3] y, float[2,3] u)
            <int8[6,3] Wq, int8 zw, float[3] sw, int8[6,3] Vq, int8 zv, float[3] sv, float[3] b2> {
            q, s, z = DynamicQuantizeLinear (x)
            sums = MatMulInteger (q, Wq, z, zw)
            real = Cast <to = 1> (sums)
            scale = Mul (s, sw)
            y = Mul (real, scale)
            sums2 = MatMulInteger (q, Vq, z, zv)
            real2 = Cast <to = 1> (sums2)
            scale2 = Mul (s, sv)
            r = Mul (real2, scale2)
            u = Add (r, b2)
        }""",
        rtol=0.02,
        atol=0.05,
    )


def test_a_convolution_where_asked_for(rewrite: Rewrite) -> None:
    before = """g (float[1,2,6,6] x) => (float[1,4,6,6] y) <float[4,2,3,3] W, float[4] b> {
        y = Conv <pads = [1,1,1,1]> (x, W, b)
    }"""
    rewrite("quantize-dynamic", before, None)
    rewrite(
        "quantize-dynamic{conv=true}",
        before,
        """g (float[1,2,6,6] x) => (float[1,4,6,6] y)
            <uint8[4,2,3,3] Wq, uint8 zw, float[4,1,1] sw, float[4,1,1] b2> {
            q, s, z = DynamicQuantizeLinear (x)
            sums = ConvInteger <pads = [1,1,1,1]> (q, Wq, z, zw)
            real = Cast <to = 1> (sums)
            scale = Mul (s, sw)
            r = Mul (real, scale)
            y = Add (r, b2)
        }""",
        rtol=0.02,
        atol=0.1,
    )


@given(
    x=hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 4), st.just(6)),
        elements=st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False),
    ),
    seed=st.integers(0, 1000),
    per_token=st.booleans(),
)
@settings(max_examples=60)
def test_the_error_is_that_of_rounding_both_factors(x: FloatArray, seed: int, per_token: bool) -> None:
    """|y − x·W| ≤ Σ|δx||W| + Σ|x||δW| + Σ|δx||δW|, each δ half a step; no rows and zero rows included."""
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=(6, 3)) * np.array([1.0, 0.0, 1e-3])).astype(np.float32)
    y = run(quantized(matmul(weight), per_token=per_token), x)
    real, w = x.astype(np.float64), np.abs(weight.astype(np.float64))
    if per_token or not x.size:
        step = np.abs(real).max(axis=1, keepdims=True, initial=0.0) / 127
    else:
        # The zero point is rounded too, so that the ends of the range may be cut off by half a step more.
        step = 2 * (max(real.max(), 0.0) - min(real.min(), 0.0)) / 255
    dx, dw = 0.5 * step, 0.5 * w.max(axis=0) / 127
    bound = dx * w.sum(0) + np.abs(real).sum(1, keepdims=True) * dw + 6 * dx * dw
    assert y.shape == (len(x), 3)
    assert np.all(np.abs(y - real @ weight) <= 1.001 * bound + 1e-30)


def test_a_large_token_does_not_coarsen_the_others() -> None:
    rng = np.random.default_rng(0)
    weight, x = (rng.normal(size=shape).astype(np.float32) for shape in ((6, 3), (5, 6)))
    alone = run(quantized(matmul(weight), per_token=True), x)
    x[0] *= 1000
    together = run(quantized(matmul(weight), per_token=True), x)
    np.testing.assert_array_equal(together[1:], alone[1:])
    coarse = run(quantized(matmul(weight)), x)[1:]
    assert np.abs(coarse - x[1:] @ weight).max() > 20 * np.abs(alone[1:] - x[1:] @ weight).max()


def test_the_runtime_fuses_it(onnx_text: Text, tmp_path: Path) -> None:
    """One operator for a product with its bias; DynamicQuantizeLinear once for two products of one tensor."""
    text = """g (float[B,S,6] x) => (float[B,S,4] y, float[B,S,3] u)
        <float[6,3] W, float[3] b, float[6,5] V, float[5,4] U, float[4] d> {
        m = MatMul (x, W) u = Add (m, b)
        v = MatMul (x, V) t = Tanh (v)
        n = MatMul (t, U) y = Add (n, d)
    }"""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    model = quantized(onnx_text(text, 19)).SerializeToString()
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    assert found == {
        "DynamicQuantizeLinear": 1,
        "MatMulIntegerToFloat": 2,
        "Tanh": 1,
        "DynamicQuantizeMatMul": 1,
    }


REFUSED = {
    "two activations": (
        "g (float[2,6] x, float[6,3] w) => (float[2,3] y) { y = MatMul (x, w) }",
        "multiplies two activations",
    ),
    "a batch of matrices": (
        "g (float[2,4,6] x) => (float[2,4,3] y) <float[2,6,3] W> { y = MatMul (x, W) }",
        "has 3 axes",
    ),
    "a constant on the left": (
        "g (float[6,3] x) => (float[2,3] y) <float[2,6] W> { y = MatMul (W, x) }",
        "multiplies two activations",
    ),
    "a transposed activation": (
        "g (float[6,2] x) => (float[2,3] y) <float[6,3] W> { y = Gemm <transA = 1> (x, W) }",
        "transposes its first input",
    ),
    "infinite weight": (
        "g (float[2,2] x) => (float[2,1] y) <float[2,1] W = {1.0, inf}> { y = MatMul (x, W) }",
        "NaN or infinity",
    ),
    "doubles": (
        "g (double[2,2] x) => (double[2,1] y) <double[2,1] W = {1.0, 2.0}> { y = MatMul (x, W) }",
        "not float32",
    ),
    "a computed bias that is scaled": (
        "g (float[2,6] x, float[3] b) => (float[2,3] y) <float[6,3] W> { y = Gemm <beta = 2.0> (x, W, b) }",
        "bias is computed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_left_float_with_a_reason(rewrite: Rewrite, case: str) -> None:
    text, reason = REFUSED[case]
    assert reason in rewrite("quantize-dynamic", text, None, rtol=None).skips[0].reason


def test_a_sum_too_long_for_int32() -> None:
    outcome = QuantizeDynamic().run(matmul(np.ones((70_000, 1), np.float32)), Context())
    assert (outcome.edits, outcome.skips[0].reason) == (0, "its sums could leave int32")


def test_before_opset_18_axes_are_an_attribute(onnx_text: Text) -> None:
    x = np.array([[1, 2, 3, 4, 5, -6], [0, 0, 0, 0, 0, 0]], np.float32)
    old, new = (run(quantized(onnx_text(MATMUL, opset), per_token=True), x) for opset in (13, 19))
    np.testing.assert_array_equal(old, new)


def test_an_old_opset_is_an_error(onnx_text: Text) -> None:
    with pytest.raises(PassError, match="needs opset 11 or later, the model has 10"):
        QuantizeDynamic().run(onnx_text(MATMUL, 10), Context())
