"""expand-new-operators: each expansion, what holds the opset up, and that the fusions undo it."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onnxq.errors import UsageError
from onnxq.graph.numeric import Array
from onnxq.graph.outline import outline
from onnxq.passes.lowering._expansions import compact_recipe
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse

Rewrite = Callable[..., Outcome]
OnnxText = Callable[..., ir.Model]

X = np.linspace(-5, 5, 60, dtype=np.float32).reshape(3, 4, 5)
NUMBERS = """float root2 = {1.41421356}, float one = {1.0}, float half = {0.5}, float slope = {0.0356774081},
    float c = {0.7978845608}, float alpha = {1.5}, float eps = {1e-5}, 
    int64[1] last = {-1}, int64[2] last2 = {-2, -1}, float[5] scale, float[4,5] scale2, float[5] beta"""
EXPANSIONS = {
    "Gelu": (
        "y = Gelu (x)",
        "d = Div (x, root2) e = Erf (d) a = Add (e, one) m = Mul (x, a) y = Mul (m, half)",
    ),
    "Gelu tanh": (
        'y = Gelu <approximate = "tanh"> (x)',
        "q = Mul (x, x) r = Mul (q, slope) s = Add (r, c) t = Mul (x, s) e = Tanh (t) a = Add (e, one) "
        "m = Mul (x, a) y = Mul (m, half)",
    ),
    "Swish": ("y = Swish (x)", "s = Sigmoid (x) y = Mul (x, s)"),
    "Swish alpha": ("y = Swish <alpha = 1.5> (x)", "a = Mul (x, alpha) s = Sigmoid (a) y = Mul (x, s)"),
    "RMSNormalization": (
        "y = RMSNormalization (x, scale)",
        "q = Mul (x, x) v = ReduceMean (q, last) e = Add (v, eps) s = Sqrt (e) n = Div (x, s) "
        "y = Mul (n, scale)",
    ),
    "RMSNormalization axis 1": (
        "y = RMSNormalization <axis = 1> (x, scale2)",
        "q = Mul (x, x) v = ReduceMean (q, last2) e = Add (v, eps) s = Sqrt (e) n = Div (x, s) "
        "y = Mul (n, scale2)",
    ),
}
FUSIONS = "fuse-layer-norm, fuse-rms-norm, fuse-gelu, fuse-silu, fuse-hard-swish"


def graph(body: str) -> str:
    return f"g (float[3,4,5] x) => (float[3,4,5] y) <{NUMBERS}> {{ {body} }}"


@pytest.fixture
def model(onnx_text: OnnxText) -> OnnxText:
    """A model with inferred types at the opset, with the IR version that belongs to it."""

    def build(body: str, opset: int) -> ir.Model:
        proto = ir.to_proto(onnx_text(body, opset))
        proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
        return ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))

    return build


def run(model: ir.Model, pipeline: str) -> ir.Model:
    return run_pipeline(model, parse(pipeline), Context()).model


def reference(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> Array:
    (found,) = list(onnx.reference.ReferenceEvaluator(model).run(None, dict(feeds)))
    return np.asarray(found)


@pytest.mark.parametrize(("before", "after"), EXPANSIONS.values(), ids=EXPANSIONS)
def test_expansions(model: OnnxText, before: str, after: str) -> None:
    proto = ir.to_proto(start := model(graph(before), 24))
    expected = reference(proto, {"x": X})
    found = ir.to_proto(run(start, "expand-new-operators"))
    assert (found.opset_import[0].version, found.ir_version) == (19, 9)
    assert outline(ir.from_proto(found), canonical=True) == outline(model(graph(after), 19), canonical=True)
    onnx.checker.check_model(found, full_check=True)
    assert all(info.type.tensor_type.elem_type for info in found.graph.value_info)
    value = reference(found, {"x": X})
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "y = Gelu (x)",
        'y = Gelu <approximate = "tanh"> (x)',
        "y = Swish (x)",
        "y = Swish <alpha = 1.5> (x)",
        "y = RMSNormalization <axis = -1, epsilon = 1e-6> (x, scale)",
        "y = RMSNormalization <axis = -2, epsilon = 1e-6> (x, scale2)",
        "y = LayerNormalization <axis = -1, epsilon = 1e-5> (x, scale, beta)",
        "y = LayerNormalization <axis = -2, epsilon = 1e-5> (x, scale2)",
        "y = HardSwish (x)",
    ],
)
def test_the_fusions_undo_it(model: OnnxText, body: str) -> None:
    """Each body as the fusions write it, expanded as far down as its operators go, comes back."""
    before = model(graph(body), 24)
    was = outline(before, canonical=True)
    lowest = "{opset=13}" if body.split()[2] in ("LayerNormalization", "HardSwish") else ""
    expanded = run(before, f"expand-new-operators{lowest}")
    assert outline(expanded, canonical=True) != was
    assert outline(run(expanded, FUSIONS), canonical=True) == was


def test_mish_by_its_definition(rewrite: Rewrite) -> None:
    after = graph("s = Softplus (x) t = Tanh (s) y = Mul (x, t)")
    rewrite("expand-new-operators{opset=17}", before=graph("y = Mish (x)"), after=after)


@pytest.mark.parametrize("groups", [0, -1, 3, 10**11])
def test_groups_that_the_channels_do_not_make_have_no_short_form(model: OnnxText, groups: int) -> None:
    text = f"y = GroupNormalization <num_groups = {groups}> (v, a, a)"
    start = model(f"g (float[1,4,6] v) => (float[1,4,6] y) <float[4] a> {{ {text} }}", 21)
    assert compact_recipe(start.graph.node(0), 20) is None


@pytest.mark.parametrize(
    "body",
    [
        "g (float[1,4,6] v, float[4] a, float[4] b) => (float[1,4,6] y) "
        "{ y = GroupNormalization <num_groups = 2> (v, a, b) }",
        "g (float[1,2,3,8] v, float[1,3,4] a, float[1,3,4] b) => (float[1,2,3,8] y) "
        "{ y = RotaryEmbedding (v, a, b) }",
        "g (float[1,2,3,8] v, float[1,2,3,8] a, float[1,2,3,8] b) => (float[1,2,3,8] y) "
        "{ y = Attention <is_causal = 1> (v, a, b) }",
    ],
    ids=["GroupNormalization", "RotaryEmbedding", "Attention"],
)
def test_operators_by_the_definition_of_the_standard(model: OnnxText, body: str) -> None:
    rng = np.random.default_rng(0)
    start = model(body, 23)
    feeds = {
        str(v.name): rng.standard_normal(v.shape.numpy(), np.float32) for v in start.graph.inputs if v.shape
    }
    expected = reference(ir.to_proto(start), feeds)
    found = ir.to_proto(run(start, "expand-new-operators"))
    assert (found.opset_import[0].version, len(found.graph.node) > 1) == (19, True)
    onnx.checker.check_model(found, full_check=True)
    session = ort.InferenceSession(found.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, feeds)[0], expected, rtol=1e-5, atol=1e-5)


def test_default_attributes_are_dropped(rewrite: Rewrite) -> None:
    text = """g (float[2] x) => (float[2] y) <float s = {{0.5}}, uint8 z = {{3}}> {{
        q = QuantizeLinear {attributes} (x, s, z)
        y = DequantizeLinear (q, s, z)
    }}"""
    model = rewrite(
        "expand-new-operators",
        before=text.format(attributes="<block_size = 0, saturate = 1, output_dtype = 0>"),
        after=text.format(attributes="<saturate = 1>"),
    ).model
    assert model.opset_imports[""] == 19


def test_int16_holds_the_opset_at_21(rewrite: Rewrite) -> None:
    text = """g (float[2] x) => (float[2] y) <float s = {{0.5}}, int16 z = {{0}}> {{
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) {tail}
    }}"""
    outcome = rewrite("expand-new-operators", before=text.format(tail="y = Relu (d)"), after=None)
    assert [s.reason for s in outcome.skips] == ["does not take tensor(int16) at opset 19"] * 2


def test_the_lowest_opset_that_all_nodes_allow(model: OnnxText) -> None:
    body = """g (float[2] x) => (float[2] y) <float s = {0.5}, int16 z = {0}> {
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) y = Swish (d)
    }"""
    found = run(model(body, 24), "expand-new-operators")
    assert found.opset_imports[""] == 21
    assert [node.op_type for node in found.graph] == ["QuantizeLinear", "DequantizeLinear", "Sigmoid", "Mul"]


def test_an_older_model_stays(rewrite: Rewrite) -> None:
    rewrite("expand-new-operators{opset=22}", before=graph("y = Gelu (x)"), after=None)


def test_an_unknown_opset_is_refused() -> None:
    with pytest.raises(UsageError, match="opset must be from 13 to 26, not 12"):
        parse("expand-new-operators{opset=12}")
