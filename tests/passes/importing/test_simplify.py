"""onnxsim folds constants and nothing else: all that a quantizer or a user relies on is still there."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
import onnxsim
import pytest

from onnxq import model_io
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing import simplify
from onnxq.passes.importing.simplify import Simplify
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Rewrite = Callable[..., Outcome]
OnnxText = Callable[..., ir.Model]


def test_shape_arithmetic_and_constants_are_folded(rewrite: Rewrite) -> None:
    rewrite(
        "simplify",
        before="""g (float[2,3,4] x) => (float[2,12] y)
            <float[12] w, int64 zero = {0}, int64[1] rest = {-1}, int64[1] at = {0}> {
            s = Shape (x)
            n = Gather (s, zero)
            m = Unsqueeze (n, at)
            t = Concat <axis = 0> (m, rest)
            r = Reshape (x, t)
            v = Neg (w)
            y = Add (r, v)
        }""",
        after="""g (float[2,3,4] x) => (float[2,12] y) <int64[2] t, float[12] v> {
            r = Reshape (x, t)
            y = Add (r, v)
        }""",
    )


def test_quantized_weights_stay_quantized(rewrite: Rewrite) -> None:
    rewrite(
        "simplify",
        before="""g (float[2,4] x) => (float[2,3] y)
            <float[4,3] w, float s = {0.1}, int8 z = {0}, int8[4,3] i, float[3] c> {
            q = QuantizeLinear (w, s, z)
            d = DequantizeLinear (q, s, z)
            e = DequantizeLinear (i, s, z)
            a = MatMul (x, d)
            b = MatMul (x, e)
            f = Exp (c)
            p = Add (a, b)
            y = Add (p, f)
        }""",
        after="""g (float[2,4] x) => (float[2,3] y)
            <float[4,3] w, float s = {0.1}, int8 z = {0}, int8[4,3] i, float[3] f> {
            q = QuantizeLinear (w, s, z)
            d = DequantizeLinear (q, s, z)
            e = DequantizeLinear (i, s, z)
            a = MatMul (x, d)
            b = MatMul (x, e)
            p = Add (a, b)
            y = Add (p, f)
        }""",
    )


ALONE = {
    "overridable": """g (float[N,4] x, float[4] w) => (float[N,4] y) <float[4] w = {1, 2, 3, 4}> {
        v = Neg (w) y = Add (x, v) }""",
    "batch norm": """g (float[1,3,8,8] x) => (float[1,2,6,6] y)
        <float[2,3,3,3] w, float[2] scale, float[2] b, float[2] var> {
        t = Conv (x, w) y = BatchNormalization (t, scale, b, b, var) }""",
    "identity": "g (float[N] x) => (float[N] y) { a = Identity (x) y = Relu (a) }",
    "if": """g (float[2,2] x, bool c) => (float[2,2] y) {
        y = If (c) <then_branch = t () => (float[2,2] a) { a = Relu (x) },
                    else_branch = e () => (float[2,2] b) { b = Neg (x) }> }""",
}


@pytest.mark.parametrize("graph", ALONE.values(), ids=ALONE)
def test_everything_else_is_left_alone(rewrite: Rewrite, graph: str) -> None:
    rewrite("simplify", before=graph, after=None)


def test_what_surrounds_the_graph_is_kept(onnx_text: OnnxText) -> None:
    model = onnx_text(
        """<ir_version: 8, opset_import: ["": 17, "f": 1], producer_name: "p", metadata_props: ["k": "v"]>
        g (float[N,4] x) => (float[N,4] y, float[N,4] z) <float[4] w = {1, 2, 3, 4}> {
            v = Neg (w) a = Add (x, v) z = f.Twice (a) y = Relu (z)
        }
        <domain: "f", opset_import: ["": 17]> Twice (a) => (b) { b = Add (a, a) }"""
    )
    model.graph.node(1).outputs[0].shape = ir.Shape(["batch", 4])
    inputs = [(v.name, v.type, v.shape) for v in (*model.graph.inputs, *model.graph.outputs)]
    outcome = Simplify().run(model, Context())
    made = outcome.model
    assert [n.op_type for n in made.graph] == ["Add", "Twice", "Relu"]
    assert [(v.name, v.type, v.shape) for v in (*made.graph.inputs, *made.graph.outputs)] == inputs
    assert made.graph.node(0).outputs[0].shape == ir.Shape(["batch", 4])
    assert (made.metadata_props, made.producer_name, made.ir_version) == ({"k": "v"}, "p", 8)
    assert (dict(made.opset_imports), len(made.functions)) == ({"": 17, "f": 1}, 1)


def test_large_weights_are_neither_copied_nor_folded(
    onnx_text: OnnxText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simplify, "_LARGE_MODEL", 100)
    monkeypatch.setattr(simplify, "_LARGE_TENSOR", 100)
    model = onnx_text(
        "g (float[2,64] x) => (float[2,64] y) <float[64] large, float[2,1] small> "
        "{ a = Neg (large) b = Neg (small) c = Add (x, a) y = Add (c, b) }"
    )
    tensor = model.graph.initializers["large"].const_value
    made = Simplify().run(model, Context()).model
    assert [node.op_type for node in made.graph] == ["Neg", "Add", "Add"]
    assert made.graph.initializers["large"].const_value is tensor
    assert [value.name for value in made.graph.inputs] == ["x"]
    model_io.check(made)


def test_a_bomb_is_not_lit(onnx_text: OnnxText) -> None:
    model = onnx_text("""g (float[1] x) => (float[n,m] y) <int64[2] s = {1000000, 1000000}> {
        a = ConstantOfShape (s) y = Add (x, a) }""")
    outcome = Simplify().run(model, Context())
    assert not outcome.modified
    assert "would make the constant 'a' of 1000000000000 elements" in outcome.skips[0].reason


@pytest.mark.parametrize("kind", ["crash", "invalid", "renamed", "opset"])
def test_whatever_onnxsim_does_wrong_is_a_reason(
    onnx_text: OnnxText, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def broken(proto: onnx.ModelProto, **options: object) -> tuple[onnx.ModelProto, bool]:
        if kind == "crash":
            raise MemoryError("std::bad_alloc")
        if kind == "invalid":
            del proto.graph.node[0]
        if kind == "renamed":
            proto.graph.output[0].name = proto.graph.node[1].output[0] = "z"
        if kind == "opset":
            proto.opset_import[0].version += 1
        return proto, True

    monkeypatch.setattr(onnxsim, "simplify", broken)
    model = onnx_text("g (float[2] x) => (float[2] y) <float[2] w> { v = Neg (w) y = Add (x, v) }")
    before = model_io.to_proto(model).SerializeToString()
    outcome = Simplify().run(model, Context())
    words = {"crash": "bad_alloc", "invalid": "not valid ONNX", "renamed": "outputs", "opset": "opset"}
    assert words[kind] in outcome.skips[0].reason
    assert outcome.model is model
    assert model_io.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize(
    ("name", "nodes"), [("ultraface_rfb_320", 170), ("ppocr_v3_det", 520), ("silero_vad_16k", 276)]
)
def test_evaluation_models_agree(zoo: ModuleType, name: str, nodes: int) -> None:
    entry = zoo.load(name)
    made = Simplify().run(model_io.load(entry.float_model), Context()).model
    assert len(list(all_nodes(made))) <= nodes
    feeds = next(iter(entry.calibration(1)))
    before, after = (Session(m, optimize=False, threads=1) for m in (entry.float_model, made))
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    found = after.run(feeds)
    for output, expected in before.run(feeds).items():
        np.testing.assert_allclose(found[output], expected, rtol=1e-5, atol=1e-6)
