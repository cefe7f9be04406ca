"""Reading a graph: constants wherever they hide, optional inputs, readers in bodies."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph import match

TEXT = """g (bool c, float[N,2] x, float over = {3.0}) => (float[N,2] y, float[N,2] b)
  <float one = {1.0}, float[2] w = {1.0, 2.0}> {
    k = Constant <value = float[1,1] {5.0}> ()
    i = Constant <value_int = 7> ()
    a = Add (x, w)
    b = Relu (a)
    d = Clip (b, , one)
    e = Mul (d, d)
    y = If (c) <
        then_branch = t () => (float[N,2] u) { u = Neg (a) },
        else_branch = z () => (float[N,2] v) { v = Add (e, over) }>
}"""


@pytest.fixture
def values(onnx_text: Callable[..., ir.Model]) -> dict[str, ir.Value]:
    graph = onnx_text(TEXT).graph
    named = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
    return {value.name: value for value in named if value.name}


def test_constants_are_found_in_initializers_and_nodes_but_not_where_they_can_change(
    values: dict[str, ir.Value],
) -> None:
    assert {name: match.scalar(values[name]) for name in ("one", "k", "i", "w", "x", "over", "a")} == {
        "one": 1.0, "k": 5.0, "i": 7.0, "w": None, "x": None, "over": None, "a": None,
    }  # fmt: skip
    w = match.constant(values["w"])
    assert w is not None
    assert (w.dtype.name, w.tolist()) == ("float32", [1.0, 2.0])
    assert match.constant(None) is None


def test_reading_constants_does_not_change_the_bytes_of_the_model(onnx_text: Callable[..., ir.Model]) -> None:
    model = onnx_text(TEXT)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    for node in model.graph:
        match.constants(node.outputs)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_constants_come_all_or_none(values: dict[str, ir.Value]) -> None:
    found = match.constants([values["one"], values["w"]])
    assert found is not None
    assert [array.size for array in found] == [1, 2]
    assert match.constants([values["one"], values["x"]]) is None
    assert match.constants([values["one"], None]) is None
    assert match.constants([]) == []


def test_producers_are_found_by_input_and_operator(values: dict[str, ir.Value]) -> None:
    clip = values["d"].producer()
    assert clip is not None
    relu = match.producer(clip, 0, "Relu")
    assert relu is values["b"].producer()
    assert match.producer(clip, 0, "Add", "Relu") is relu
    assert match.producer(clip, 0, "Add") is None
    assert match.producer(clip, 1) is None
    assert match.producer(clip, 9) is None
    assert match.producer(values["x"]) is None
    assert match.get_input(clip, 1) is None
    assert match.get_input(clip, 2) is values["one"]


def test_consumers_are_listed_once_and_across_scopes(values: dict[str, ir.Value]) -> None:
    assert [node.op_type for node in match.consumers(values["a"])] == ["Relu", "Neg"]
    assert [node.op_type for node in match.consumers(values["d"])] == ["Mul"]


def test_a_sole_consumer_reads_once_in_the_same_scope_and_nothing_is_public(
    values: dict[str, ir.Value],
) -> None:
    assert match.sole_consumer(values["one"], "Clip") is values["d"].producer()
    assert match.sole_consumer(values["one"], "Add") is None
    assert match.sole_consumer(values["a"]) is None, "two readers"
    assert match.sole_consumer(values["d"]) is None, "one reader that reads twice"
    assert match.sole_consumer(values["b"]) is None, "an output of the model"
    assert match.sole_consumer(values["e"]) is None, "read in a body"


def test_operators_are_told_by_domain(values: dict[str, ir.Value]) -> None:
    relu = values["b"].producer()
    assert match.is_op(relu, "Relu")
    assert match.is_op(relu, "Add", "Relu")
    assert not match.is_op(relu, "Relu", domain="com.microsoft")
    assert not match.is_op(None, "Relu")
    assert match.is_op(ir.node("Relu", [], domain="ai.onnx"), "Relu")
    assert not match.is_op(ir.node("Relu", [], domain="ai.onnx.ml"), "Relu")


def test_types_and_shapes(values: dict[str, ir.Value]) -> None:
    assert match.is_float(values["x"])
    assert not match.is_float(values["c"])
    assert not match.is_float(None)
    assert (match.rank(values["x"]), match.rank(values["a"]), match.rank(None)) == (2, None, None)
    assert (match.static_shape(values["w"]), match.static_shape(values["x"])) == ((2,), None)
    assert match.equals(np.ones(3), 1)
    assert not match.equals(np.array([1, 2]), 1)
    assert not match.equals(np.ones(0), 1)
    assert not match.equals(None, 1)
