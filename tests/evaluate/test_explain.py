"""Explanations: coverage, the reason for each float node, every warning where it belongs and nowhere else."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.evaluate.explain import explain
from onnxq.evaluate.hazards import saturating_pairs
from onnxq.evaluate.macs import macs
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.context import Context
from onnxq.targets.target import load_target

Text = Callable[..., ir.Model]

NET = """g (float[1,4,8,8] x) => (float[1,4,8,8] y)
    <float s = {0.05}, %(dtype)s z = {3}, int8[4,4,1,1] W, float w = {0.01}, int8 o = {0},
     int32[4] B, float b = {%(bias)s}, int32 i = {0}> {
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    wd = DequantizeLinear (W, w, o)
    bd = DequantizeLinear (B, b, i)
    c = Conv (d, wd, bd)
    k = QuantizeLinear (c, s, z)
    e = DequantizeLinear (k, s, z)
    t = %(middle)s (e)
    l = QuantizeLinear (t, s, z)
    f = DequantizeLinear (l, s, z)
    v = Sigmoid (f)
    n = QuantizeLinear (v, s, z)
    y = DequantizeLinear (n, s, z)
}"""


def _hazards(model: ir.Model, target: str) -> list[tuple[str, str]]:
    return [(hazard.node, hazard.kind) for hazard in explain(model, load_target(target)).hazards]


def _net(onnx_text: Text, **changes: object) -> ir.Model:
    return onnx_text(NET % ({"dtype": "uint8", "bias": 0.0005, "middle": "LeakyRelu"} | changes))


def test_a_model_all_on_integers(onnx_text: Text) -> None:
    found = explain(_net(onnx_text), load_target("ort-x86-vnni"))
    assert [node.pattern for node in found.nodes] == ["QLinearConv", "QLinearLeakyRelu", "QLinearSigmoid"]
    assert (found.integer_share, found.mac_share, list(found.hazards)) == (1.0, 1.0, [])
    assert found.nodes[0].macs == 8 * 8 * 4 * 4


def test_a_float_node_between_integer_ones_is_an_island(onnx_text: Text) -> None:
    model = _net(onnx_text, middle="Tanh")
    found = explain(model, load_target("ort-x86-vnni"))
    assert [node.integer for node in found.nodes] == [True, False, True]
    assert _hazards(model, "ort-x86-vnni") == [("t", "float island")]
    assert _hazards(model, "generic-int8") == []


def test_a_wrong_bias_scale_is_named(onnx_text: Text) -> None:
    assert ("c", "bias scale") in _hazards(_net(onnx_text, bias=0.004), "generic-int8")


def test_pairs_that_saturate_are_counted_on_avx2_only(onnx_text: Text) -> None:
    model = _net(onnx_text)
    weight = model.graph.initializers["W"]
    codes = np.array(
        [[100, 100, -100, -100], [100, -100, 60, 60], [64, 64, 64, 65], [0, 127, 127, 0]], np.int8
    )
    weight.const_value = ir.tensor(codes.reshape(4, 4, 1, 1), name="W")
    assert _hazards(model, "ort-x86-avx2") == [("c", "saturation")]
    assert _hazards(model, "ort-x86-vnni") == []
    brute = 0
    for row in codes.astype(int):
        for first, second in row.reshape(-1, 2):
            sums = [a * first + b * second for a in (0, 255) for b in (0, 255)]
            brute += max(sums) > 32767 or min(sums) < -32768
    conv = next(node for node in model.graph if node.op_type == "Conv")
    assert saturating_pairs(conv, codes.reshape(4, 4, 1, 1)) == brute == 3


def test_slow_kernels_are_warned_of(onnx_text: Text) -> None:
    model = onnx_text("""g (float[2,4] x) => (float[2,3] y)
        <float s = {0.05}, int8 z = {3}, int8[4,3] W, float w = {0.01}, int8 o = {0}> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        e = Tanh (d)
        wd = DequantizeLinear (W, w, o)
        c = Gemm (d, wd)
        y = Add (c, e)
    }""")
    model.graph.initializers["W"].const_value = ir.tensor(np.full((4, 3), 5, np.int8), name="W")
    named = {node.outputs[0].name: node for node in model.graph}
    named["y"].replace_input_with(1, named["q"].inputs[0])
    assert ("c", "slow kernel") not in _hazards(model, "ort-arm")


@pytest.mark.parametrize(
    ("call", "shapes", "count"),
    [
        ("Conv <group = 2> (x, W)", ("1,4,5,5", "6,2,2,2"), 6 * 4 * 4 * 2 * 2 * 2),
        ("ConvTranspose (x, W)", ("1,4,5,5", "4,3,2,2"), 4 * 5 * 5 * 3 * 2 * 2),
        ("MatMul (x, W)", ("2,5,7", "7,3"), 2 * 5 * 7 * 3),
        ("Gemm <transA = 1> (x, W)", ("7,5", "7,3"), 5 * 7 * 3),
        ("Add (x, W)", ("2,3", "2,3"), 0),
    ],
)
def test_multiplications(call: str, shapes: tuple[str, str], count: int, onnx_text: Text) -> None:
    model = onnx_text(f"g (float[{shapes[0]}] x) => (float[] y) <float[{shapes[1]}] W> {{ y = {call} }}")
    model.graph.outputs[0].shape = None
    assert macs(InferShapes().run(model, Context()).model.graph[0]) == count


def test_qoperator_nodes_are_integer_kernels(onnx_text: Text) -> None:
    model = onnx_text("""g (float[1,4,8,8] x) => (float[1,4,8,8] y)
        <float s = {0.05}, uint8 z = {3}, int8[4,4,1,1] W, float w = {0.01}, int8 o = {0}> {
        q = QuantizeLinear (x, s, z)
        c = QLinearConv (q, s, z, W, w, o, s, z)
        l = com.microsoft.QLinearSigmoid (c, s, z, s, z)
        y = DequantizeLinear (l, s, z)
    }""")
    found = explain(model, load_target("ort-x86-vnni"))
    assert [(node.pattern, node.integer) for node in found.nodes] == [
        ("QLinearConv", True),
        ("QLinearSigmoid", True),
    ]
    assert found.mac_share == 1.0
