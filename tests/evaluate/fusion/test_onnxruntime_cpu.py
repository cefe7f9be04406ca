"""The prediction of what ONNX Runtime fuses, held against the optimized models that it writes."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import onnx_ir as ir
import pytest

from onnxq import model_io
from onnxq.evaluate.fusion.dump import agreement, disagreements
from onnxq.evaluate.fusion.onnxruntime_cpu import predict
from onnxq.evaluate.fusion.verdict import Verdict
from onnxq.evaluate.fusion.view import tidied
from onnxq.graph.match import is_op
from onnxq.targets.target import Target, load_target

Text = Callable[..., ir.Model]

MODELS = Path(__file__).parents[3] / "models"
X86, ARM = load_target("ort-x86-vnni"), load_target("ort-arm")

OWN_QDQ = ("mobilenet_v2_tf2", "mobilenet_v1_0.25_128_qat", "resnet8_cifar10", "kws_dscnn")


@pytest.mark.parametrize("target", [X86, ARM], ids=lambda target: target.name)
@pytest.mark.parametrize("name", OWN_QDQ)
def test_files_of_other_tools(name: str, target: Target, zoo: ModuleType) -> None:
    model = model_io.load(Path(zoo.load(name).qat_models[0]))
    assert disagreements(model, target) == []


def test_the_digits_network_that_was_trained_with_fake_quant() -> None:
    model = model_io.load(MODELS / "digits_cnn_qat.onnx")
    right, told = agreement(model, X86)
    assert right == told > 20


BEFORE = """g (float[1,4,8,8] x) => (float[1,4,8,8] y)
    <float s = {0.05}, uint8 z = {3}, float t = {0.04}, uint8 low = {0}, float u = {0.03}, uint8 v = {130},
     int8[4,4,1,1] W, float w = {0.01}, int8 o = {0}, int32[4] B, float b = {%s}, int32 i = {0}, int32[4] f> {
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    wd = DequantizeLinear (W, w, o)
    bd = DequantizeLinear (B, b, i)
    %s
}"""

CASES = {
    "Conv + Relu": (
        "c = Conv (d, wd, bd) r = Relu (c) k = QuantizeLinear (r, t, low) y = DequantizeLinear (k, t, low)",
        True,
    ),
    "Relu whose codes go on below zero": (
        "c = Conv (d, wd, bd) r = Relu (c) k = QuantizeLinear (r, u, v) y = DequantizeLinear (k, u, v)",
        False,
    ),
    "no Q behind the Conv": ("c = Conv (d, wd, bd) y = Sin (c)", False),
    "a second reader": (
        "c = Conv (d, wd, bd) k = QuantizeLinear (c, u, v) e = DequantizeLinear (k, u, v) y = Add (c, e)",
        False,
    ),
    "Sigmoid": ("c = Sigmoid (d) k = QuantizeLinear (c, u, v) y = DequantizeLinear (k, u, v)", True),
    "Tanh": ("c = Tanh (d) k = QuantizeLinear (c, u, v) y = DequantizeLinear (k, u, v)", False),
    "MaxPool, one scale": (
        "c = MaxPool <kernel_shape = [1,1]> (d) k = QuantizeLinear (c, s, z) y = DequantizeLinear (k, s, z)",
        True,
    ),
    "MaxPool, two scales": (
        "c = MaxPool <kernel_shape = [1,1]> (d) k = QuantizeLinear (c, u, v) y = DequantizeLinear (k, u, v)",
        False,
    ),
    "Add with itself": ("c = Add (d, d) k = QuantizeLinear (c, u, v) y = DequantizeLinear (k, u, v)", True),
    "Add with a float": ("c = Add (d, x) k = QuantizeLinear (c, u, v) y = DequantizeLinear (k, u, v)", False),
    "Concat of two scales": (
        "a = Sigmoid (d) l = QuantizeLinear (a, u, v) e = DequantizeLinear (l, u, v) "
        "h = Concat <axis = 1> (d, e) k = QuantizeLinear (h, t, low) j = DequantizeLinear (k, t, low) "
        "y = Slice (j, starts, ends, axes)",
        True,
    ),
    "a Transpose without a pair behind it": (
        "p = Transpose <perm = [0,1,3,2]> (d) c = Conv (p, wd, bd) k = QuantizeLinear (c, u, v) "
        "y = DequantizeLinear (k, u, v)",
        True,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_pattern_at_a_time(case: str, onnx_text: Text) -> None:
    body, fused = CASES[case]
    text = BEFORE % (0.0005, body)
    if "starts" in body:
        text = text.replace(
            "int32[4] f>", "int32[4] f, int64[1] starts = {0}, int64[1] ends = {4}, int64[1] axes = {1}>"
        )
    model = onnx_text(text)
    first = next(n for n in model.graph if not is_op(n, "QuantizeLinear", "DequantizeLinear", "Transpose"))
    assert disagreements(model, X86) == []
    verdicts = _by_output(model)
    assert verdicts[first.outputs[0].name or ""].integer == fused


def test_a_bias_at_another_scale_keeps_a_conv_float(onnx_text: Text) -> None:
    body = "c = Conv (d, wd, bd) k = QuantizeLinear (c, u, v) y = DequantizeLinear (k, u, v)"
    model = onnx_text(BEFORE % (0.0035, body))
    assert disagreements(model, X86) == []
    found = _by_output(model)["c"]
    assert (found.integer, "s_x·s_w" in found.pattern, "fold-fake-quant" in found.fix) == (False, True, True)


def test_int8_codes_with_two_readers_lose_their_fusions_on_x86_only(onnx_text: Text) -> None:
    model = onnx_text("""g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float s = {0.05}, int8 z = {3}> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        a = Sigmoid (d)
        k = QuantizeLinear (a, s, z)
        e = DequantizeLinear (k, s, z)
        m = Mul (d, e)
        h = QuantizeLinear (m, s, z)
        y = DequantizeLinear (h, s, z)
    }""")
    assert disagreements(model, X86) == disagreements(model, ARM) == []
    x86, arm = (
        _by_output(model),
        {n.outputs[0].name: v for n, v in predict(tidied(model), int8_allowed=True).items()},
    )
    assert not x86["m"].integer
    assert "uint8" in x86["m"].fix
    assert arm["m"].integer


def _by_output(model: ir.Model) -> dict[str, Verdict]:
    return {node.outputs[0].name or "": verdict for node, verdict in predict(tidied(model)).items()}
