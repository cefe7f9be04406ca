"""OpenVINO adds what a Conv or MatMul makes to another value before anything is rounded (``fuse_sum``)."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq import api
from onnxq.evaluate.explain import explain
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.context import Context
from onnxq.pipeline.presets import Form
from onnxq.quant.placement import plan
from onnxq.quant.plan import Plan, Role
from onnxq.quant.recipe import Recipe, Rule, Wish
from onnxq.targets.rules import check_rules
from onnxq.targets.target import load_target

Text = Callable[..., ir.Model]

RESIDUAL = """g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[4,4,1,1] W> {
    a = Conv (x, W)
    b = Conv (a, W)
    s = Conv (x, W)
    %s
}"""


def _activations(found: Plan) -> set[str]:
    return {d.value for d in found.values if d.role in (Role.ACTIVATION, Role.CONSTANT)}


@pytest.mark.parametrize(
    ("rest", "unrounded"),
    [
        ("t = Add (a, b) r = Relu (t) y = Conv (r, W)", {"b"}),
        ("t = Add (s, b) y = Conv (t, W)", {"s"}),
        ("p = Relu (b) t = Add (a, p) y = Conv (t, W)", set()),
        ("k = GlobalAveragePool (a) t = Add (k, b) y = Conv (t, W)", set()),
        ("t = Add (b, b) y = Conv (t, W)", set()),
        ("t = Add (a, b) y = Mul (t, b)", set()),
    ],
    ids=[
        "the one read by it alone",
        "one of two",
        "behind a Relu",
        "stretched",
        "twice the same",
        "read twice",
    ],
)
def test_openvino_adds_the_sums_of_a_convolution_unrounded(
    rest: str, unrounded: set[str], onnx_text: Text
) -> None:
    model = InferShapes().run(onnx_text(RESIDUAL % rest), Context()).model
    made = {
        name: _activations(plan(model, load_target(name))) for name in ("openvino", "generic-int8", "integer")
    }
    assert made["generic-int8"] - made["openvino"] == unrounded
    assert made["integer"] >= unrounded


def test_a_recipe_that_speaks_of_such_sums_gives_them_codes(onnx_text: Text) -> None:
    model = InferShapes().run(onnx_text(RESIDUAL % "y = Add (a, b)"), Context()).model
    recipe = Recipe((Rule(Wish(dtype="int8"), value="b"),))
    assert {"a", "b"} <= _activations(plan(model, load_target("openvino"), recipe))


@pytest.mark.parametrize("form", ["qdq", "qoperator", "integer"])
def test_unrounded_sums_keep_the_rules_and_no_other_form_has_them(form: Form, onnx_text: Text) -> None:
    target = load_target("openvino")
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((1, 4, 8, 8)).astype(np.float32)} for _ in range(2)]
    source = onnx_text(RESIDUAL % "t = Add (b, a) r = Relu (t) y = Conv (r, W)")
    found = api.quantize(source, samples, target=target, form=form, proof=0)
    coded = {decision.value for decision in found.plan.values}
    assert ("b" in coded) == (form != "qdq")
    if form != "qdq":
        return
    assert check_rules(found.model, target) == []
    told = explain(found.model, target)
    assert told.mac_share == told.integer_share == 1.0
    assert "Conv + Add + Relu" in {node.pattern for node in told.nodes}
    elsewhere = load_target("generic-int8")
    assert {finding.rule for finding in check_rules(found.model, elsewhere)} == {"open-end"}
    assert explain(found.model, elsewhere).mac_share == 2 / 3
