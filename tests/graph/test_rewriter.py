"""What is prepared, and every small edit: valid, counted honestly, public names and types kept."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir

import onnxq
from onnxq.graph.match import constant
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import Rewriter, describe
from onnxq.graph.verify import verify

from .small_models import BODY, FUNCTION, X, compute, find, ops, some

OnnxText = Callable[..., ir.Model]


def test_prepared_nodes_have_types_attributes_and_unique_names(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    relu = find(chain, "Relu")
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
    rw.skip(find(chain, "Relu"), "not today")
    rw.op("Neg", [chain.graph.inputs[0]], outputs=3)
    rw.discard()
    assert ir.to_proto(chain).SerializeToString(deterministic=True) == before
    assert (rw.edits, [skip.reason for skip in rw.skips]) == (0, ["not today"])
    assert rw.skips[0].node == describe(find(chain, "Relu")) == "Relu (output 'b')"


def test_constants_keep_dtype_shape_and_values_whatever_their_layout(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    arrays: list[Array] = [np.arange(6.0).reshape(2, 3).T, np.array(2, np.float16), np.zeros((0, 4), np.int8)]
    for array in arrays:
        value = rw.const(array, "w")
        found = constant(value)
        assert found is not None
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)


def test_set_input_replaces_appends_and_drops_what_lost_its_reader(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    add = find(chain, "Add")
    rw.set_input(add, 1, rw.const(np.array(2, np.float32), "two"))
    rw.finish()
    assert list(chain.graph.initializers) == ["two"]
    rw.replace(find(chain, "Relu"), rw.op("Clip", [add.outputs[0]]))
    clip = find(chain, "Clip")
    rw.set_input(clip, 2, rw.const(np.array(1, np.float32), "high"))
    verify(chain)
    assert [value and value.name for value in clip.inputs] == ["a", None, "high"]
    np.testing.assert_allclose(compute(chain, x=X)[0], np.exp(-np.minimum(X + 2, 1)), rtol=1e-6)
    assert rw.edits == 3


def test_set_attribute_sets_replaces_and_removes(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y) { y = LeakyRelu <alpha = 0.5> (x) }")
    rw = Rewriter(model)
    node = find(model, "LeakyRelu")
    rw.set_attribute(node, "alpha", 0.25)
    np.testing.assert_allclose(compute(model, x=X)[0], [X[0] * 0.25, X[1]])
    rw.set_attribute(node, "alpha", None)
    np.testing.assert_allclose(compute(model, x=X)[0], [X[0] * np.float32(0.01), X[1]])
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
    rw.remove(find(model, "Neg"), find(model, "If"))
    rw.finish()
    verify(model)
    assert (ops(model), list(model.graph.initializers), rw.edits) == (["Neg"], [], 1)


def test_finish_keeps_constants_that_gained_another_reader(chain: ir.Model) -> None:
    rw = Rewriter(chain)
    add = find(chain, "Add")
    one = some(add.inputs[1])
    rw.replace(add, rw.op("Neg", [add.inputs[0]]))
    rw.replace(find(chain, "Relu"), rw.op("Max", [chain.graph[0].outputs[0], one]))
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
    assert constant(find(model, "Add").inputs[1]) == 1
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
    assert set(ops(model)) == {"Abs", "Relu"}


def test_nothing_but_the_rewriter_cuts_into_graphs() -> None:
    package = Path(onnxq.__file__).parent
    files = [*package.rglob("*.py"), *(package / "passes").resolve().rglob("*.py")]
    assert [f.name for f in files if re.search(r"import.*\bsurgery\b", f.read_text())] == ["rewriter.py"]
