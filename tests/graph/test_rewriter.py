"""Every edit keeps the model valid, its public names and types, and counts itself honestly."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from onnxq.graph.match import constant
from onnxq.graph.numeric import Array
from onnxq.graph.outline import outline
from onnxq.graph.rewriter import Rewriter, describe
from onnxq.graph.scopes import scopes
from onnxq.graph.verify import signature, verify

OnnxText = Callable[..., ir.Model]

CHAIN = """g (float[2] x) => (float[2] y) <float[2] b, float one = {1.0}> {
    a = Add (x, one)  b = Relu (a)  c = Neg (b)  y = Exp (c)
}"""
BODY = """g (bool c, float[2] x) => (float[2] y) {
    y = If (c) <
        then_branch = t () => (float[2] u) { p = Neg (x)  u = Relu (p) },
        else_branch = e () => (float[2] v) { v = Exp (x) }>
}"""
FUNCTION = """<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
g (float[2] x) => (float[2] y) { y = local.f (x) }
<domain: "local", opset_import: ["" : 21]>
f (a) => (b) { t = Neg (a)  b = Relu (t) }"""


def _node(model: ir.Model, op_type: str) -> ir.Node:
    return next(node for scope in scopes(model) for node in scope.graph if node.op_type == op_type)


def _ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def _value(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value


def _run(model: ir.Model, **feeds: Array) -> list[Array]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return list(onnx.reference.ReferenceEvaluator(proto).run(None, feeds))


X = np.array([-1.5, 0.25], np.float32)


@pytest.fixture
def chain(onnx_text: OnnxText) -> ir.Model:
    return onnx_text(CHAIN)


# --- preparing ----------------------------------------------------------------------------------


def test_prepared_nodes_have_types_attributes_and_unique_names(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    relu = _node(chain, "Relu")
    value = rw.op(
        "LeakyRelu", [relu.inputs[0]], {"alpha": 0.5, "skipped": None}, like=relu.outputs[0], output="a"
    )
    node = value.producer()
    assert node is not None
    assert (value.dtype, value.shape, value.name) == (ir.DataType.FLOAT, ir.Shape([2]), "a_1")
    assert value.shape is not relu.outputs[0].shape
    assert node.attributes["alpha"].as_float() == 0.5
    assert "skipped" not in node.attributes
    assert [rw.unique("a"), rw.unique("a"), rw.unique("new")] == ["a_2", "a_3", "new"]


def test_what_was_prepared_and_not_used_leaves_no_trace(chain: ir.Model) -> None:
    before = ir.to_proto(chain).SerializeToString(deterministic=True)
    rw = Rewriter(chain)
    rw.op("Neg", [rw.const(X, "w")])
    rw.skip(_node(chain, "Relu"), "not today")
    rw.op("Neg", [chain.graph.inputs[0]], outputs=3)
    rw.discard()
    assert ir.to_proto(chain).SerializeToString(deterministic=True) == before
    assert (rw.edits, [skip.reason for skip in rw.skips]) == (0, ["not today"])
    assert rw.skips[0].node == describe(_node(chain, "Relu")) == "Relu (output 'b')"


def test_constants_keep_dtype_shape_and_values_whatever_their_layout(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    arrays: list[Array] = [np.arange(6.0).reshape(2, 3).T, np.array(2, np.float16), np.zeros((0, 4), np.int8)]
    for array in arrays:
        value = rw.const(array, "w")
        found = constant(value)
        assert found is not None
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)


# --- replace ------------------------------------------------------------------------------------


def test_replace_takes_over_readers_name_and_place_and_drops_private_constants(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    add, relu = _node(chain, "Add"), _node(chain, "Relu")
    rw.replace([add, relu], rw.op("Max", [add.inputs[0], rw.const(X * 0, "zero")]))
    rw.finish()
    verify(chain)
    assert _ops(chain) == ["Max", "Neg", "Exp"]
    assert list(chain.graph.initializers) == ["zero"]
    assert chain.graph[0].outputs[0].name == "b"
    assert chain.graph[0].outputs[0].dtype == relu.outputs[0].dtype
    assert rw.edits == 1
    np.testing.assert_allclose(_run(chain, x=X)[0], np.exp(-np.maximum(X, 0)), rtol=1e-6)


def test_replace_keeps_what_others_still_read(onnx_text: OnnxText) -> None:
    model = onnx_text(
        """g (float[2] x) => (float[2] y, float[2] a) <float one = {1.0}> {
            a = Add (x, one)  b = Relu (a)  y = Mul (b, one)
        }"""
    )
    rw = Rewriter(model)
    add, relu = _node(model, "Add"), _node(model, "Relu")
    rw.replace([add, relu], rw.op("Abs", [add.inputs[0]]))
    rw.finish()
    verify(model)
    assert _ops(model) == ["Add", "Abs", "Mul"]
    assert "one" in model.graph.initializers


def test_replace_of_the_last_node_keeps_the_public_signature(chain: ir.Model) -> None:
    kept = signature(chain)
    rw = Rewriter(chain)
    exp = _node(chain, "Exp")
    rw.replace(exp, rw.op("Sin", [rw.op("Cos", exp.inputs)]))
    verify(chain, kept)
    assert signature(chain) == kept
    assert _ops(chain)[-2:] == ["Cos", "Sin"]


def test_replace_of_a_node_with_two_outputs(onnx_text: OnnxText) -> None:
    model = onnx_text(
        "g (float[4] x) => (float[2] y, float[2] z) { y, z = Split <axis = 0, num_outputs = 2> (x) }"
    )
    kept = signature(model)
    rw = Rewriter(model)
    split = _node(model, "Split")
    values = [
        rw.op("Slice", [split.inputs[0], rw.const(np.array([i]), "s"), rw.const(np.array([i + 2]), "e")])
        for i in (0, 2)
    ]
    rw.replace(split, *values)
    verify(model, kept)
    assert [a.tolist() for a in _run(model, x=np.arange(4, dtype=np.float32))] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="shorter"):
        rw.replace(_node(model, "Slice"))


def test_replace_inside_a_body_puts_nodes_and_constants_into_that_body(onnx_text: OnnxText) -> None:
    model = onnx_text(BODY)
    rw = Rewriter(model)
    neg = _node(model, "Neg")
    rw.replace(neg, rw.op("Mul", [neg.inputs[0], rw.const(np.array(-1, np.float32), "minus")]))
    verify(model)
    body = _node(model, "If").attributes["then_branch"].as_graph()
    assert list(body.initializers) == ["minus"]
    assert not model.graph.initializers
    for flag in (True, False):
        expected = np.maximum(-X, 0) if flag else np.exp(X)
        np.testing.assert_allclose(_run(model, c=np.array(flag), x=X)[0], expected, rtol=1e-6)


def test_replace_inside_a_function_makes_constant_nodes(onnx_text: OnnxText) -> None:
    model = onnx_text(FUNCTION)
    rw = Rewriter(model)
    neg = _node(model, "Neg")
    rw.replace(neg, rw.op("Mul", [neg.inputs[0], rw.const(np.array(-1, np.float32), "minus")]))
    verify(model)
    function = next(iter(model.functions.values()))
    assert [node.op_type for node in function] == ["Constant", "Mul", "Relu"]
    np.testing.assert_array_equal(_run(model, x=X)[0], np.maximum(-X, 0))


@pytest.mark.parametrize("edit", ["replace", "set_input"])
def test_a_constant_may_itself_be_the_new_value_inside_a_function(onnx_text: OnnxText, edit: str) -> None:
    model = onnx_text(FUNCTION)
    rw = Rewriter(model)
    four = rw.const(np.array([4, 4], np.float32), "four")
    if edit == "replace":
        rw.replace(_node(model, "Neg"), four)
    else:
        rw.set_input(_node(model, "Relu"), 0, four)
    verify(model)
    assert _run(model, x=X)[0].tolist() == [4, 4]
    assert constant(_node(model, "Relu").inputs[0]) is not None


# --- bypass and interpose -----------------------------------------------------------------------


def test_bypass_in_the_middle_and_at_an_output(chain: ir.Model) -> None:
    kept = signature(chain)
    rw = Rewriter(chain)
    for op_type in ("Relu", "Exp"):
        node = _node(chain, op_type)
        assert rw.bypass(node, _value(node.inputs[0]))
    verify(chain, kept)
    assert (_ops(chain), rw.edits) == (["Add", "Neg"], 2)
    np.testing.assert_array_equal(_run(chain, x=X)[0], -(X + 1))


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
    node = _node(model, "Identity")
    assert not rw.bypass(node, _value(node.inputs[0]))
    assert (outline(model), rw.edits, len(rw.skips)) == (before, 0, 1)


def test_interpose_moves_all_readers_and_the_public_name(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y, float[2] z) { y = Neg (x)  z = Exp (y) }")
    kept = signature(model)
    rw = Rewriter(model)
    y = model.graph.outputs[0]
    rw.interpose(y, rw.op("Abs", [y], like=y))
    verify(model, kept)
    assert signature(model) == kept
    assert _ops(model) == ["Neg", "Abs", "Exp"]
    y_now, z_now = _run(model, x=X)
    np.testing.assert_array_equal(y_now, np.abs(X))
    np.testing.assert_allclose(z_now, np.exp(np.abs(X)), rtol=1e-6)


def test_interpose_for_some_readers_leaves_the_others_and_the_output(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y, float[2] z) { y = Neg (x)  z = Exp (y)  u = Sin (y) }")
    rw = Rewriter(model)
    y = model.graph.outputs[0]
    rw.interpose(y, rw.op("Abs", [y], like=y), readers=[_node(model, "Exp")])
    verify(model)
    assert model.graph.outputs[0] is y
    assert _node(model, "Sin").inputs[0] is y
    np.testing.assert_allclose(_run(model, x=X)[1], np.exp(np.abs(X)), rtol=1e-6)


def test_interpose_behind_an_input_reaches_into_bodies(onnx_text: OnnxText) -> None:
    model = onnx_text(BODY)
    rw = Rewriter(model)
    x = model.graph.inputs[1]
    rw.interpose(x, rw.op("Abs", [x], like=x))
    verify(model)
    assert _ops(model) == ["Abs", "If"]
    np.testing.assert_allclose(_run(model, c=np.array(False), x=X)[0], np.exp(np.abs(X)), rtol=1e-6)


def test_interpose_behind_an_initializer(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    one = chain.graph.initializers["one"]
    rw.interpose(one, rw.op("Neg", [one], like=one))
    verify(chain)
    assert _ops(chain)[0] == "Neg"
    np.testing.assert_allclose(_run(chain, x=X)[0], np.exp(-np.maximum(X - 1, 0)), rtol=1e-6)


# --- small edits --------------------------------------------------------------------------------


def test_set_input_replaces_appends_and_drops_what_lost_its_reader(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    add = _node(chain, "Add")
    rw.set_input(add, 1, rw.const(np.array(2, np.float32), "two"))
    rw.finish()
    assert list(chain.graph.initializers) == ["two"]
    rw.replace(_node(chain, "Relu"), rw.op("Clip", [add.outputs[0]]))
    clip = _node(chain, "Clip")
    rw.set_input(clip, 2, rw.const(np.array(1, np.float32), "high"))
    verify(chain)
    assert [value and value.name for value in clip.inputs] == ["a", None, "high"]
    np.testing.assert_allclose(_run(chain, x=X)[0], np.exp(-np.minimum(X + 2, 1)), rtol=1e-6)
    assert rw.edits == 3


def test_set_attribute_sets_replaces_and_removes(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y) { y = LeakyRelu <alpha = 0.5> (x) }")
    rw = Rewriter(model)
    node = _node(model, "LeakyRelu")
    rw.set_attribute(node, "alpha", 0.25)
    np.testing.assert_allclose(_run(model, x=X)[0], [X[0] * 0.25, X[1]])
    rw.set_attribute(node, "alpha", None)
    np.testing.assert_allclose(_run(model, x=X)[0], [X[0] * np.float32(0.01), X[1]])
    assert rw.edits == 2


def test_remove_takes_unread_nodes_with_their_bodies_and_constants_only(onnx_text: OnnxText) -> None:
    model = onnx_text(
        """g (bool c, float[2] x) => (float[2] y) <float one = {1.0}> {
            y = Neg (x)
            dead = If (c) <
                then_branch = t () => (float[2] u) { u = Add (x, one) },
                else_branch = e () => (float[2] v) { v = Exp (x) }>
        }"""
    )
    rw = Rewriter(model)
    rw.remove(_node(model, "Neg"), _node(model, "If"))
    rw.finish()
    verify(model)
    assert (_ops(model), list(model.graph.initializers), rw.edits) == (["Neg"], [], 1)


def test_finish_keeps_constants_that_gained_another_reader(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    add = _node(chain, "Add")
    one = _value(add.inputs[1])
    rw.replace(add, rw.op("Neg", [add.inputs[0]]))
    rw.replace(_node(chain, "Relu"), rw.op("Max", [chain.graph[0].outputs[0], one]))
    rw.finish()
    verify(chain)
    assert list(chain.graph.initializers) == ["one"]


def test_inputs_are_frozen_and_initializers_and_functions_dropped(onnx_text: OnnxText) -> None:
    model = onnx_text(
        "g (float[2] x, float w = {1.0}) => (float[2] y) <float spare = {2.0}> { y = Add (x, w) }"
    )
    rw = Rewriter(model)
    rw.freeze_input(model.graph.inputs[1])
    rw.drop(model.graph.initializers["spare"])
    verify(model)
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert list(model.graph.initializers) == ["w"]
    assert constant(_node(model, "Add").inputs[1]) == 1
    functions = Rewriter(onnx_text(FUNCTION))
    functions.drop_functions(("local", "f", ""))
    assert not functions.model.functions
    assert (rw.edits, functions.edits) == (2, 1)


def test_set_type_and_adopt_count_as_edits(chain: ir.Model, onnx_text: OnnxText) -> None:
    rw = Rewriter(chain)
    rw.set_type(chain.graph.inputs[0], ir.DataType.INT8)
    assert chain.graph.inputs[0].dtype == ir.DataType.INT8
    other = onnx_text(BODY)
    rw.unique("seen")
    rw.adopt(other)
    assert rw.model is other
    assert rw.unique("u") == "u_1", "names of the adopted model's bodies are taken"
    assert rw.edits == 2


def test_many_edits_take_linear_time_per_edit(onnx_text: OnnxText) -> None:
    count = 3000
    nodes = "".join(f"v{i + 1} = Neg (v{i}) " for i in range(count))
    model = onnx_text(f"g (float[2] v0) => (float[2] y) {{ {nodes} y = Relu (v{count}) }}")
    rw = Rewriter(model)
    for node in list(model.graph)[:-1]:
        rw.replace(node, rw.op("Abs", [node.inputs[0]]))
    verify(model)
    assert rw.edits == count
    assert set(_ops(model)) == {"Abs", "Relu"}
