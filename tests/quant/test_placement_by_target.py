"""Placement follows the target: islands, sums that leave as float, float biases, fixed ranges, 16 bits."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq import api
from onnxq.errors import UsageError
from onnxq.graph.match import is_op
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.passes.quantization.insert_qdq import InsertQdq
from onnxq.pipeline.context import Context
from onnxq.quant.eligibility import Kind, kind
from onnxq.quant.placement import plan
from onnxq.quant.plan import Plan, Role
from onnxq.quant.qdq import qparams_of
from onnxq.targets.target import load_target

Text = Callable[..., ir.Model]


def _plan(onnx_text: Text, text: str, target: str) -> Plan:
    return plan(InferShapes().run(onnx_text(text), Context()).model, load_target(target))


def _floats(found: Plan) -> set[str]:
    return {node.node for node in found.nodes if not node.quantized}


def _values(found: Plan) -> set[str]:
    return {d.value for d in found.values if d.role in (Role.ACTIVATION, Role.CONSTANT)}


BLOCK = """g (float[2,4] x) => (float[2,4] y) <float[4,4] W, float[4] b, float[4] g, float[4,4] V> {
    m = MatMul (x, W)
    a = Add (m, b)
    r = Add (a, x)
    n = LayerNormalization (r, g)
    y = MatMul (n, V)
}"""


def test_a_residual_add_between_floats_stays_float_on_onnx_runtime(onnx_text: Text) -> None:
    found = _plan(onnx_text, BLOCK, "ort-x86-vnni")
    assert _floats(found) == {"r", "n"}
    assert _values(found) == {"x", "n"}, "the products leave as float: no pair behind a and y"
    assert _floats(_plan(onnx_text, BLOCK, "generic-int8")) == set()


def test_arithmetic_inside_a_float_function_stays_float(onnx_text: Text) -> None:
    text = """g (float[1,4] x) => (float[1,4] y) <float[4,4] W> {
        a = MatMul (x, W)
        p = Abs (a)
        q = Exp (a)
        s = Add (p, q)
        r = Sqrt (s)
        t = Add (p, r)
        y = MatMul (t, W)
    }"""
    assert _floats(_plan(onnx_text, text, "generic-int8")) == {"p", "q", "s", "r"}, "t feeds a product"


def test_a_residual_add_between_convolutions_is_an_integer_one(onnx_text: Text) -> None:
    text = """g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[4,4,1,1] W> {
        a = Conv (x, W)
        b = Conv (a, W)
        r = Add (a, b)
        y = Conv (r, W)
    }"""
    for target in ("ort-x86-vnni", "tensorrt"):
        assert _floats(_plan(onnx_text, text, target)) == set()


def test_a_relu_that_its_conv_swallows_needs_no_kernel_of_its_own(onnx_text: Text) -> None:
    text = """g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[4,4,1,1] W> {
        a = Conv (x, W)
        r = Relu (a)
        t = Tanh (r)
        y = Relu (t)
    }"""
    found = _plan(onnx_text, text, "ort-x86-vnni")
    assert _floats(found) == {"t", "y"}
    assert _values(found) == {"x", "r"}


def test_biases_and_outputs_of_tensorrt_stay_float(onnx_text: Text) -> None:
    text = "g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[4,4,1,1] W, float[4] b> { y = Conv (x, W, b) }"
    assert {d.role for d in _plan(onnx_text, text, "tensorrt").values} == {Role.ACTIVATION, Role.WEIGHT}
    assert _values(_plan(onnx_text, text, "tensorrt")) == {"x"}


def test_pools_of_tflite_keep_the_scale(onnx_text: Text) -> None:
    text = """g (float[1,4,8,8] x) => (float[1,4,4,4] y) <float[4,4,1,1] W> {
        a = AveragePool <kernel_shape = [2,2], strides = [2,2]> (x)
        y = Conv (a, W)
    }"""
    groups = {target: len(_plan(onnx_text, text, target).groups) for target in ("tflite-int8", "tidl")}
    assert groups == {"tflite-int8": 3, "tidl": 4}


@pytest.mark.parametrize(
    ("op", "target", "scale", "zero_point"),
    [
        ("Softmax", "generic-int8", 1 / 256, 0),
        ("Softmax", "tflite-int8", 1 / 256, -128),
        ("Tanh", "tflite-int8", 1 / 128, 0),
        ("Softmax", "xint8", 1 / 128, 0),
    ],
)
def test_fixed_ranges_give_the_steps_that_runtimes_want(
    op: str, target: str, scale: float, zero_point: int, onnx_text: Text
) -> None:
    model = (
        InferShapes()
        .run(onnx_text(f"g (float[2,4] x) => (float[2,4] y) {{ y = {op} (x) }}"), Context())
        .model
    )
    samples = api.load_samples(model, [{"x": np.ones((2, 4), np.float32)}])
    InsertQdq().run(model, Context(load_target(target), samples))
    last = qparams_of([node for node in model.graph if is_op(node, "QuantizeLinear")][-1])
    assert last is not None
    assert (float(last.scale), int(last.zero_point)) == (scale, zero_point)


def test_sixteen_bits_raise_the_opset(onnx_text: Text) -> None:
    model = (
        InferShapes()
        .run(onnx_text("g (float[2] x) => (float[2] y) { y = Sigmoid (x) }", 19), Context())
        .model
    )
    samples = api.load_samples(model, [{"x": np.ones(2, np.float32)}])
    done = InsertQdq(activation="uint16").run(model, Context(load_target("qnn-htp"), samples)).model
    assert done.opset_imports[""] == 21
    found = [q.format.bits for node in done.graph if (q := qparams_of(node)) is not None]
    assert found == [16] * 4
    with pytest.raises(UsageError, match="takes activations of uint8, uint16, not int8"):
        InsertQdq(activation="int8").plan(model, Context(load_target("qnn-htp"), samples))


def test_powers_of_two_reach_every_scale(onnx_text: Text) -> None:
    text = """g (float[1,4,8,8] x) => (float[1,2,4,4] y) <float[2,4,1,1] W, float[2] b> {
        m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)
        y = Conv (m, W, b)
    }"""
    samples = [{"x": np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)}]
    made = api.quantize(onnx_text(text), samples, target="xint8", proof=0).model
    found = {node.outputs[0].name: q for node in made.graph if (q := qparams_of(node)) is not None}
    assert all(np.log2(q.scale) % 1 == 0 for q in found.values())
    bias, x, w = (next(q for n, q in found.items() if n and n.startswith(key)) for key in ("b_", "m_", "W_"))
    assert bias.scale == x.scale * w.scale


@pytest.mark.parametrize("scaled", ["g = Gelu (a) s = Mul (g, k)", "s = Mul (a, k) g = Tanh (s)"])
def test_a_constant_factor_joins_the_float_operator_beside_it(scaled: str, onnx_text: Text) -> None:
    text = f"""g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[4,4,1,1] W, float[4,1,1] k> {{
        a = Conv (x, W)
        {scaled}
        y = Conv ({"s" if scaled.startswith("g") else "g"}, W)
    }}"""
    assert _floats(_plan(onnx_text, text, "ort-x86-vnni")) == {"g", "s"}


CONCAT = """g (float[1,4,8,8] x) => (float[1,8,8,8] y, float[1,4,8,8] z)
    <float[4,4,1,1] W, float[8,8,1,1] V> {
    a = Conv (x, W)
    p = Relu (a)
    b = Conv (p, W)
    q = %s (b)
    e = Conv (p, W)
    r = Relu (e)
    c = Concat <axis = 1> (q, r)
    y = Conv (c, V)
    z = Conv (%s, W)
}"""


@pytest.mark.parametrize(
    ("second", "also_read", "shared"),
    [("Relu", "p", {"q", "r"}), ("Relu", "r", {"q"}), ("LeakyRelu", "p", set())],
    ids=["made for it alone", "one is read elsewhere", "they end at different places"],
)
def test_operands_of_a_concat_have_its_scale(
    second: str, also_read: str, shared: set[str], onnx_text: Text
) -> None:
    found = _plan(onnx_text, CONCAT % (second, also_read), "ort-x86-vnni")
    members = {name for group in found.groups.values() if len(group) > 1 for name in (d.value for d in group)}
    assert members == (shared | {"c"} if shared else set())
    assert {d.value for d in found.values if d.follows} == shared
    assert "c" in found.measured
    assert not shared & set(found.measured)


@pytest.mark.parametrize(("rows", "roles"), [("N", set()), ("5", {Role.BIAS})])
def test_a_bias_that_onnx_runtime_adds_as_float_has_no_codes(
    rows: str, roles: set[Role], onnx_text: Text
) -> None:
    text = f"""g (float[{rows},3,4] x) => (float[{rows},3,4] y) <float[4,4] W, float[4] b> {{
        m = MatMul (x, W)
        y = Add (m, b)
    }}"""
    found = _plan(onnx_text, text, "ort-x86-vnni")
    assert {d.role for d in found.values} == {Role.ACTIVATION, Role.WEIGHT} | roles


@pytest.mark.parametrize(("least", "floats"), [(0.5, set()), (7.0, {"m"})], ids=["within", "beyond"])
def test_a_min_within_the_bounds_of_a_clip_moves_codes(
    least: float, floats: set[str], onnx_text: Text
) -> None:
    text = f"""g (float[1,2,8,8] x) => (float[1,2,8,8] y)
        <float[2,2,1,1] W, float low = {{0.0}}, float high = {{6.0}}, float[2,1,1] k = {{{least}, 3.0}}> {{
        a = Conv (x, W)
        c = Clip (a, low, high)
        m = Min (c, k)
        y = Conv (m, W)
    }}"""
    found = _plan(onnx_text, text, "generic-int8")
    assert _floats(found) == floats
    assert len({d.group for d in found.values if d.value in ("c", "k", "m")}) == (1 if not floats else 2)
    assert {d.value for d in found.values if d.follows} == ({"c", "k"} if not floats else set()), "m says all"


def test_a_quantized_min_is_still_known_for_what_it_is(onnx_text: Text) -> None:
    model = onnx_text("""g (uint8[1,2,8,8] x) => (float[1,2,8,8] m) <float s = {0.1}, uint8 z = {0},
        uint8[2,1,1] k = {20, 60}, float low = {0.0}, float high = {6.0}> {
        a = DequantizeLinear (x, s, z)
        c = Clip (a, low, high)
        q = QuantizeLinear (c, s, z)
        d = DequantizeLinear (q, s, z)
        b = DequantizeLinear (k, s, z)
        m = Min (d, b)
    }""")
    assert kind(model.graph[-1], load_target("generic-int8")) is Kind.MOVE


def test_slices_of_one_input_are_one_conversion(onnx_text: Text) -> None:
    text = """g (float[1,2,8,8] x) => (float[1,4,4,8] y)
        <float[4,4,1,1] W, int64[1] s = {0}, int64[1] m = {4}, int64[1] e = {8}, int64[1] a = {2}> {
        p = Slice (x, s, m, a)
        q = Slice (x, m, e, a)
        c = Concat <axis = 1> (p, q)
        y = Conv (c, W)
    }"""
    found = _plan(onnx_text, text, "ort-x86-vnni")
    assert _floats(found) == set()
    assert "x" in _values(found)
