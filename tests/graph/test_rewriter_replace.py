"""replace, bypass and interpose keep the model valid, its public names and types, and count honestly."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.match import constant
from onnxq.graph.outline import outline
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.verify import signature, verify

from .small_models import BODY, FUNCTION, X, compute, find, ops, some

OnnxText = Callable[..., ir.Model]


def test_replace_takes_over_readers_name_and_place_and_drops_private_constants(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    add, relu = find(chain, "Add"), find(chain, "Relu")
    rw.replace([add, relu], rw.op("Max", [add.inputs[0], rw.const(X * 0, "zero")]))
    rw.finish()
    verify(chain)
    assert ops(chain) == ["Max", "Neg", "Exp"]
    assert list(chain.graph.initializers) == ["zero"]
    assert chain.graph[0].outputs[0].name == "b"
    assert chain.graph[0].outputs[0].dtype == relu.outputs[0].dtype
    assert rw.edits == 1
    np.testing.assert_allclose(compute(chain, x=X)[0], np.exp(-np.maximum(X, 0)), rtol=1e-6)


def test_replace_keeps_what_others_still_read(onnx_text: OnnxText) -> None:
    model = onnx_text(
        """g (float[2] x) => (float[2] y, float[2] a) <float one = {1.0}> {
            a = Add (x, one)  b = Relu (a)  y = Mul (b, one)
        }"""
    )
    rw = Rewriter(model)
    add, relu = find(model, "Add"), find(model, "Relu")
    rw.replace([add, relu], rw.op("Abs", [add.inputs[0]]))
    rw.finish()
    verify(model)
    assert ops(model) == ["Add", "Abs", "Mul"]
    assert "one" in model.graph.initializers


def test_replace_of_the_last_node_keeps_the_public_signature(chain: ir.Model) -> None:
    kept = signature(chain)
    rw = Rewriter(chain)
    exp = find(chain, "Exp")
    rw.replace(exp, rw.op("Sin", [rw.op("Cos", exp.inputs)]))
    verify(chain, kept)
    assert signature(chain) == kept
    assert ops(chain)[-2:] == ["Cos", "Sin"]


def test_replace_of_a_node_with_two_outputs(onnx_text: OnnxText) -> None:
    model = onnx_text(
        "g (float[4] x) => (float[2] y, float[2] z) { y, z = Split <axis = 0, num_outputs = 2> (x) }"
    )
    kept = signature(model)
    rw = Rewriter(model)
    split = find(model, "Split")
    values = [
        rw.op("Slice", [split.inputs[0], rw.const(np.array([i]), "s"), rw.const(np.array([i + 2]), "e")])
        for i in (0, 2)
    ]
    rw.replace(split, *values)
    verify(model, kept)
    assert [a.tolist() for a in compute(model, x=np.arange(4, dtype=np.float32))] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="shorter"):
        rw.replace(find(model, "Slice"))


def test_replace_inside_a_body_puts_nodes_and_constants_into_that_body(onnx_text: OnnxText) -> None:
    model = onnx_text(BODY)
    rw = Rewriter(model)
    neg = find(model, "Neg")
    rw.replace(neg, rw.op("Mul", [neg.inputs[0], rw.const(np.array(-1, np.float32), "minus")]))
    verify(model)
    body = find(model, "If").attributes["then_branch"].as_graph()
    assert list(body.initializers) == ["minus"]
    assert not model.graph.initializers
    for flag in (True, False):
        expected = np.maximum(-X, 0) if flag else np.exp(X)
        np.testing.assert_allclose(compute(model, c=np.array(flag), x=X)[0], expected, rtol=1e-6)


def test_replace_inside_a_function_makes_constant_nodes(onnx_text: OnnxText) -> None:
    model = onnx_text(FUNCTION)
    rw = Rewriter(model)
    neg = find(model, "Neg")
    rw.replace(neg, rw.op("Mul", [neg.inputs[0], rw.const(np.array(-1, np.float32), "minus")]))
    verify(model)
    function = next(iter(model.functions.values()))
    assert [node.op_type for node in function] == ["Constant", "Mul", "Relu"]
    np.testing.assert_array_equal(compute(model, x=X)[0], np.maximum(-X, 0))


@pytest.mark.parametrize("edit", ["replace", "set_input"])
def test_a_constant_may_itself_be_the_new_value_inside_a_function(onnx_text: OnnxText, edit: str) -> None:
    model = onnx_text(FUNCTION)
    rw = Rewriter(model)
    four = rw.const(np.array([4, 4], np.float32), "four")
    if edit == "replace":
        rw.replace(find(model, "Neg"), four)
    else:
        rw.set_input(find(model, "Relu"), 0, four)
    verify(model)
    assert compute(model, x=X)[0].tolist() == [4, 4]
    assert constant(find(model, "Relu").inputs[0]) is not None


def test_bypass_in_the_middle_and_at_an_output(chain: ir.Model) -> None:
    kept = signature(chain)
    rw = Rewriter(chain)
    for op_type in ("Relu", "Exp"):
        node = find(chain, op_type)
        assert rw.bypass(node, some(node.inputs[0]))
    verify(chain, kept)
    assert (ops(chain), rw.edits) == (["Add", "Neg"], 2)
    np.testing.assert_array_equal(compute(chain, x=X)[0], -(X + 1))


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2] x) => (float[2] y) { y = Identity (x) }",
        "g () => (float[2] y) <float[2] w = {1.0, 2.0}> { y = Identity (w) }",
        "g (float[2] x) => (float[2] a, float[2] y) { a = Neg (x)  y = Identity (a) }",
    ],
)
def test_bypass_refuses_where_a_public_name_cannot_move(onnx_text: OnnxText, text: str) -> None:
    model = onnx_text(text)
    before = outline(model)
    rw = Rewriter(model)
    node = find(model, "Identity")
    assert not rw.bypass(node, some(node.inputs[0]))
    assert (outline(model), rw.edits, len(rw.skips)) == (before, 0, 1)


def test_interpose_moves_all_readers_and_the_public_name(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y, float[2] z) { y = Neg (x)  z = Exp (y) }")
    kept = signature(model)
    rw = Rewriter(model)
    y = model.graph.outputs[0]
    rw.interpose(y, rw.op("Abs", [y], like=y))
    verify(model, kept)
    assert signature(model) == kept
    assert ops(model) == ["Neg", "Abs", "Exp"]
    y_now, z_now = compute(model, x=X)
    np.testing.assert_array_equal(y_now, np.abs(X))
    np.testing.assert_allclose(z_now, np.exp(np.abs(X)), rtol=1e-6)


def test_interpose_for_some_readers_leaves_the_others_and_the_output(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y, float[2] z) { y = Neg (x)  z = Exp (y)  u = Sin (y) }")
    rw = Rewriter(model)
    y = model.graph.outputs[0]
    rw.interpose(y, rw.op("Abs", [y], like=y), readers=[find(model, "Exp")])
    verify(model)
    assert model.graph.outputs[0] is y
    assert find(model, "Sin").inputs[0] is y
    np.testing.assert_allclose(compute(model, x=X)[1], np.exp(np.abs(X)), rtol=1e-6)


def test_interpose_behind_an_input_reaches_into_bodies(onnx_text: OnnxText) -> None:
    model = onnx_text(BODY)
    rw = Rewriter(model)
    x = model.graph.inputs[1]
    rw.interpose(x, rw.op("Abs", [x], like=x))
    verify(model)
    assert ops(model) == ["Abs", "If"]
    np.testing.assert_allclose(compute(model, c=np.array(False), x=X)[0], np.exp(np.abs(X)), rtol=1e-6)


def test_interpose_behind_an_initializer(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    one = chain.graph.initializers["one"]
    rw.interpose(one, rw.op("Neg", [one], like=one))
    verify(chain)
    assert ops(chain)[0] == "Neg"
    np.testing.assert_allclose(compute(chain, x=X)[0], np.exp(-np.maximum(X - 1, 0)), rtol=1e-6)
