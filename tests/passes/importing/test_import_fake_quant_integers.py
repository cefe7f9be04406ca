"""import-fake-quant on integer graphs: ONNX Runtime's own integer kernels say what the codes are."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.match import constant
from onnxq.graph.outline import outline
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.import_fake_quant import ImportFakeQuant
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

PARAMS = """float sa = {0.02}, uint8 za = {120}, float sb = {0.03}, uint8 zb = {131}, float sy = {0.05},
    uint8 zy = {128}, int8[4,3,3,3] W, float[4] sw, int8[4] zw = {0, 0, 0, 0},
    int32[4] bias = {10, -700, 33, 0},
    int8[8,5] M, float sm = {0.01}, int8 zm = {3}, int32[5] c = {1, -2, 300, -400, 5}"""
TWO = "g (uint8[2,3,8,8] a, uint8[2,3,8,8] b) => (uint8[2,{y}] y)"
CASES = {
    "QLinearConv": (
        TWO.format(y="4,8,8"),
        "y = QLinearConv <pads = [1,1,1,1]> (a, sa, za, W, sw, zw, sy, zy, bias)",
        "Conv",
    ),
    "QLinearMatMul": (TWO.format(y="3,8,5"), "y = QLinearMatMul (a, sa, za, M, sm, zm, sy, zy)", "MatMul"),
    "QGemm": (
        "g (uint8[2,8] a) => (uint8[2,5] y)",
        "y = com.microsoft.QGemm <alpha = 0.5> (a, sa, za, M, sm, zm, c, sy, zy)",
        "Gemm",
    ),
    "QLinearAdd": (
        TWO.format(y="3,8,8"),
        "y = com.microsoft.QLinearAdd (a, sa, za, b, sb, zb, sy, zy)",
        "Add",
    ),
    "QLinearMul": (
        TWO.format(y="3,8,8"),
        "y = com.microsoft.QLinearMul (a, sa, za, b, sb, zb, sy, zy)",
        "Mul",
    ),
    "QLinearSigmoid": (
        TWO.format(y="3,8,8"),
        "y = com.microsoft.QLinearSigmoid (a, sa, za, sy, zy)",
        "Sigmoid",
    ),
    "QLinearLeakyRelu": (
        TWO.format(y="3,8,8"),
        "y = com.microsoft.QLinearLeakyRelu <alpha = 0.2> (a, sa, za, sy, zy)",
        "LeakyRelu",
    ),
    "QLinearGlobalAveragePool": (
        TWO.format(y="3,1,1"),
        "y = com.microsoft.QLinearGlobalAveragePool (a, sa, za, sy, zy)",
        "GlobalAveragePool",
    ),
    "QLinearAveragePool": (
        TWO.format(y="3,6,6"),
        "y = com.microsoft.QLinearAveragePool <kernel_shape = [3,3]> (a, sa, za, sy, zy)",
        "AveragePool",
    ),
    "QLinearConcat": (
        TWO.format(y="6,8,8"),
        "y = com.microsoft.QLinearConcat <axis = 1> (sy, zy, a, sa, za, b, sb, zb)",
        "Concat",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_qoperator(onnx_text: Text, case: tuple[str, str, str]) -> None:
    """At most one code in a hundred moves, by one: some kernels add the zero point before they round."""
    head, body, op_type = case
    text = f"{head} <{PARAMS}> {{ {body} }}"
    done = ImportFakeQuant().run(onnx_text(text), Context())
    kinds = {node.op_type for node in all_nodes(done.model)}
    assert kinds == {"DequantizeLinear", op_type, "QuantizeLinear"}
    was, now = Session(onnx_text(text), optimize=False), Session(done.model, optimize=False)
    rng = np.random.default_rng(3)
    shapes = {port.name: [n for n in port.shape if isinstance(n, int)] for port in was.inputs}
    feeds = {name: rng.integers(0, 256, shape).astype(np.uint8) for name, shape in shapes.items()}
    apart = np.abs(was.run(feeds)["y"].astype(int) - now.run(feeds)["y"].astype(int))
    assert apart.max() <= 1
    assert np.mean(apart > 0) <= 1e-2
    assert not ImportFakeQuant().run(done.model, Context()).modified


def test_a_code_read_twice_is_dequantized_once(onnx_text: Text) -> None:
    text = f"""{TWO.format(y="3,8,8")} <{PARAMS}> {{
        t = com.microsoft.QLinearAdd (a, sa, za, b, sb, zb, sy, zy)
        u = com.microsoft.QLinearSigmoid (t, sy, zy, sa, za)
        y = com.microsoft.QLinearMul (t, sy, zy, u, sa, za, sb, zb)
    }}"""
    model = ImportFakeQuant().run(onnx_text(text), Context()).model
    assert sum(node.op_type == "DequantizeLinear" for node in all_nodes(model)) == 4


INTEGER = """g (float[2,3,8] x) => (float[2,3,5] y) <float sx = {0.02}, uint8 zx = {120}, int8[8,5] M,
    int8 zm = {0}, float m = {0.0003}, float sw = {0.015}>"""


def test_an_integer_product_with_a_known_scale(onnx_text: Text) -> None:
    text = f"""{INTEGER} {{
        q = QuantizeLinear (x, sx, zx) i = MatMulInteger (q, M, zx, zm) f = Cast <to = 1> (i) y = Mul (f, m)
    }}"""
    model = ImportFakeQuant().run(onnx_text(text), Context()).model
    assert [n.op_type for n in all_nodes(model)] == ["QuantizeLinear", *["DequantizeLinear"] * 2, "MatMul"]
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    expected = Session(onnx_text(text), optimize=False).run({"x": x})["y"]
    np.testing.assert_allclose(Session(model).run({"x": x})["y"], expected, rtol=1e-5, atol=1e-6)
    scale = constant(model.graph[2].inputs[1])
    assert scale is not None
    np.testing.assert_allclose(scale, 0.0003 / 0.02, rtol=1e-6)


def test_dynamic_quantization_keeps_its_scale_at_run_time(onnx_text: Text) -> None:
    text = f"""{INTEGER} {{
        q, s, z = DynamicQuantizeLinear (x) i = MatMulInteger (q, M, z, zm) f = Cast <to = 1> (i)
        t = Mul (s, sw) y = Mul (f, t)
    }}"""
    model = ImportFakeQuant().run(onnx_text(text), Context()).model
    assert "MatMul" in [n.op_type for n in all_nodes(model)]
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    expected = Session(onnx_text(text), optimize=False).run({"x": x})["y"]
    np.testing.assert_allclose(
        Session(model, optimize=False).run({"x": x})["y"], expected, rtol=1e-5, atol=1e-6
    )


def test_a_strict_integer_graph_stays(onnx_text: Text) -> None:
    model = onnx_text("""g (uint8[2,3,8] x) => (int32[2,3,5] y)
        <uint8 zx = {120}, int8[8,5] M, int8 zm = {0}> {
        y = MatMulInteger (x, M, zx, zm)
    }""")
    was = outline(model)
    assert not ImportFakeQuant().run(model, Context()).modified
    assert outline(model) == was


def test_microsofts_q_dq_becomes_standard(onnx_text: Text) -> None:
    text = """g (float[2,3] x) => (float[2,3] y) <float[1] s = {0.5}, uint16 z = {40000}> {
        q = com.microsoft.QuantizeLinear (x, s, z) y = com.microsoft.DequantizeLinear (q, s, z)
    }"""
    model = ImportFakeQuant().run(onnx_text(text), Context()).model
    assert {node.domain for node in all_nodes(model)} == {""}
    assert "com.microsoft" not in model.opset_imports
    scale = constant(model.graph[0].inputs[1])
    assert scale is not None
    assert scale.shape == ()
    x = np.array([[1.3, -7.8, 0], [1e6, -1e6, 0.25]], np.float32)
    np.testing.assert_array_equal(
        Session(model).run({"x": x})["y"], np.clip(np.rint(x / 0.5), -40000, 25535) * np.float32(0.5)
    )
    kept = ImportFakeQuant().run(onnx_text(text, opset=19), Context())
    assert "raise-opset{opset=21}" in kept.skips[0].reason


def test_a_zero_point_that_is_left_out_is_written(onnx_text: Text) -> None:
    model = onnx_text("""g (float[3] x, int8[3] w) => (float[3] y, float[3] v) <float s = {0.5}> {
        q = QuantizeLinear (x, s) y = DequantizeLinear (q, s) v = DequantizeLinear (w, s)
    }""")
    ImportFakeQuant().run(model, Context())
    zeros = [constant(node.inputs[2]) for node in all_nodes(model)]
    assert [zero.dtype.name for zero in zeros if zero is not None] == ["uint8", "uint8", "int8"]
    assert not any(zero.any() for zero in zeros if zero is not None)
