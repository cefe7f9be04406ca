"""suit-onnxruntime: each kernel that it names is there, computes the same, and is what really runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxq import api, model_io
from onnxq.evaluate.fusion.dump import optimized
from onnxq.graph.outline import outline
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

ACTIVATION = """g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[4,4,1,1] W> {{
    a = Conv (x, W) 
    b = {op} (a)
    y = Conv (b, W)
}}"""
RESIDUAL = """g (float[1,8,16] x) => (float[1,8,16] y) <float[16,16] W, float[16] g, float[16] b> {
    m = MatMul (x, W)
    r = Add (m, x)
    n = LayerNormalization <axis = -1> (r, g, b)
    y = MatMul (n, W)
}"""
PIPELINE = "infer-shapes, insert-qdq, fold-fake-quant"


def _quantized(model: ir.Model, *, suited: bool) -> ir.Model:
    inputs = model.graph.inputs[0]
    shape = [int(axis) for axis in inputs.shape or () if isinstance(axis, int)]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    suit = ", suit-onnxruntime" if suited else ""
    text = f"{PIPELINE}{suit}, expand-new-operators, finish"
    return api.run(model, text, [{"x": x}], target="ort-x86-vnni").model


def _kinds(model: ir.Model) -> set[str]:
    return {node.op_type for node in optimized(model).graph}


@pytest.mark.parametrize(
    ("op", "kernel"),
    [
        ("Swish", "QuickGelu"),
        ("Swish <alpha = 1.702>", "QuickGelu"),
        ("Gelu", "Gelu"),
        ('Gelu <approximate = "tanh">', "FastGelu"),
    ],
)
def test_functions_behind_codes_run_in_one_kernel(
    op: str, kernel: str, onnx_text: Text, tmp_path: Path
) -> None:
    plain, suited = (_quantized(onnx_text(ACTIVATION.format(op=op), 24), suited=on) for on in (False, True))
    assert kernel not in _kinds(plain), "ONNX Runtime finds the function by itself: the pass is needless"
    assert {kernel, "QLinearConv"} <= _kinds(suited)
    assert not {"Sigmoid", "Erf", "Tanh", "Mul"} & _kinds(suited)
    x = {"x": np.random.default_rng(1).normal(size=(1, 4, 8, 8)).astype(np.float32)}
    ran = []
    for i, model in enumerate((plain, suited)):
        model_io.save(model, tmp_path / f"{i}.onnx")
        ran.append(Session(tmp_path / f"{i}.onnx").run(x)["y"])
    step = float(np.abs(ran[0]).max()) / 100  # a few codes of the last QuantizeLinear
    assert np.allclose(ran[0], ran[1], rtol=0, atol=step)


def test_a_residual_sum_is_not_fused_into_the_slow_normalization(onnx_text: Text) -> None:
    plain, suited = (_quantized(onnx_text(RESIDUAL, 19), suited=on) for on in (False, True))
    assert "SkipLayerNormalization" in _kinds(plain), "ONNX Runtime fuses it no more: the pass is needless"
    assert {"Sum", "LayerNormalization"} <= _kinds(suited)
    assert "SkipLayerNormalization" not in _kinds(suited)


def test_other_targets_are_left_alone(onnx_text: Text) -> None:
    model = onnx_text(RESIDUAL, 19)
    done = api.run(model, "suit-onnxruntime", target="openvino")
    assert [step.edits for step in done.steps] == [0]
    assert outline(done.model) == outline(model)
