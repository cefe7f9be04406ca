"""Every shipped target: what is made for it keeps its rules and runs; and each rule catches its breach."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest

import onnxq
from onnxq import api, model_io
from onnxq.evaluate.explain import explain
from onnxq.graph.numeric import Array
from onnxq.runtime import Session
from onnxq.targets.rules import RULES, check_rules
from onnxq.targets.target import load_target, target_names

Text = Callable[..., ir.Model]

MODELS = Path(__file__).parents[2] / "models"
IMAGES: Array = np.load(MODELS / "digits" / "calibration.npy")[:16]
TEST: Array = np.load(MODELS / "digits" / "test.npy")[:100]
LABELS: Array = np.load(MODELS / "digits" / "test_labels.npy")[:100]


def _made(target: str, source: Path | ir.Model, samples: list[dict[str, Array]]) -> ir.Model:
    if load_target(target).static_shapes:
        source = api.run(source, "fix-shapes", samples[:1], target=target).model
    return onnxq.quantize(source, samples, target=target, form="qdq", scales="as-is", proof=0).model


@pytest.mark.parametrize("net", ["cnn", "vit"])
@pytest.mark.parametrize("target", target_names())
def test_the_digits_models_keep_the_rules_of_every_target(target: str, net: str) -> None:
    model = _made(target, MODELS / f"digits_{net}.onnx", [{"image": image[None]} for image in IMAGES])
    model_io.check(model)
    assert [str(finding) for finding in check_rules(model, load_target(target))] == []
    if net == "cnn" and target != "integer":
        told = explain(model, load_target(target))
        assert told.mac_share == 1.0, "all products run on integers"
        assert {hazard.kind for hazard in told.hazards} <= {"float island"}
    session = Session(model, optimize=False, threads=1)
    right = sum(
        session.run({"image": image[None]})["logits"].argmax() == label
        for image, label in zip(TEST, LABELS, strict=True)
    )
    assert right / len(TEST) > 0.96, "float: 1.0; as measured, all targets too"


@pytest.mark.parametrize("name", ["resnet8_cifar10", "kws_dscnn"])
@pytest.mark.parametrize("target", ["ort-x86-avx2", "tensorrt", "tflite-int8", "xint8"])
def test_small_real_models_keep_the_rules(target: str, name: str, zoo: ModuleType) -> None:
    entry = zoo.load(name)
    model = _made(target, entry.float_model, list(entry.calibration(4)))
    assert [str(finding) for finding in check_rules(model, load_target(target))] == []


GOOD = """g (float[1,4,8,8] x) => (float[1,4,8,8] y)
    <float s = {0.0625}, uint8 z = {3}, float t = {0.03125}, uint8 low = {0},
     int8[4,4,1,1] W, float w = {0.03125}, int8 o = {0}, int32[4] B, float b = {0.001953125}, int32 i = {0}> {
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    wd = DequantizeLinear (W, w, o)
    bd = DequantizeLinear (B, b, i)
    c = Conv (d, wd, bd)
    r = Relu (c)
    k = QuantizeLinear (r, t, low)
    y = DequantizeLinear (k, t, low)
}"""

BREACHES = [
    ("zero-point", "generic-int8", "bd = DequantizeLinear (B, b, i)", "bd = DequantizeLinear (B, b)"),
    ("rank", "generic-int8", "float s = {0.0625}", "float[1] s = {0.0625}"),
    ("dtype", "tensorrt", "", ""),
    ("symmetric", "tensorrt", "", ""),
    ("power-of-two", "xint8", "float s = {0.0625}", "float s = {0.06}"),
    ("weight", "generic-int8", "int8 o = {0}", "int8 o = {1}"),
    ("bias", "generic-int8", "float b = {0.001953125}", "float b = {0.0019}"),
    ("bias", "tensorrt", "", ""),
    (
        "open-end",
        "generic-int8",
        "k = QuantizeLinear (r, t, low)",
        "h = Sin (r) k = QuantizeLinear (h, t, low)",
    ),
    ("clamp", "generic-int8", "uint8 low = {0}", "uint8 low = {7}"),
    ("range", "generic-int8", "c = Conv (d, wd, bd) r = Relu (c)", "r = Softmax (d)"),
    ("move", "generic-int8", "r = Relu (c)", "r = Transpose (d)"),
    ("domain", "generic-int8", "r = Relu (c)", "r = com.microsoft.Gelu (c)"),
    ("value-info", "generic-int8", None, None),
]


@pytest.mark.parametrize(("rule", "target", "was", "becomes"), BREACHES)
def test_each_rule_catches_its_breach(
    rule: str, target: str, was: str | None, becomes: str | None, onnx_text: Text
) -> None:
    text = " ".join(GOOD.split())
    assert was is None or was in text
    model = onnx_text(text.replace(was, becomes or "") if was else text, 19)
    if rule != "value-info":
        model = api.run(model, "infer-shapes").model
    found = {finding.rule for finding in check_rules(model, load_target(target))}
    assert rule in found


def test_a_good_file_has_no_breach(onnx_text: Text) -> None:
    model = api.run(onnx_text(GOOD, 19), "infer-shapes").model
    model.ir_version = 9
    assert check_rules(model, load_target("generic-int8")) == []


def test_newer_versions_and_open_axes_are_named(onnx_text: Text) -> None:
    model = api.run(onnx_text(GOOD.replace("float[1,4,8,8]", "float[N,4,8,8]"), 21), "infer-shapes").model
    found = [str(finding) for finding in check_rules(model, load_target("tidl"))]
    assert any("version: the model: opset 21, the target reads up to 19" in text for text in found)
    assert any("static: x: its shape [N,4,8,8] is not fixed" in text for text in found)


def test_every_rule_says_who_demands_it() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.demanded_by for rule in RULES)
