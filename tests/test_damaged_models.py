"""What a damaged or hostile file may hold: loading it gives a model or one ModelError, and quickly."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxq import model_io
from onnxq.errors import ModelError
from onnxq.graph.outline import outline

CONV = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N,2,6,6] x, float[4,2,3,3] w) => (float[N,4,4,4] y) {
        c = Conv <kernel_shape = [3,3]> (x, w) r = Relu (c) y = Sigmoid (r) }"""
MODEL = Path(__file__).parents[1] / "models" / "digits_cnn.onnx"


def conv() -> onnx.ModelProto:
    return onnx.parser.parse_model(CONV)


def _nodes(edit: Callable[[list[onnx.NodeProto]], object]) -> Callable[[onnx.ModelProto], object]:
    return lambda model: edit(list(model.graph.node))


FAULTS: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "a circle": (_nodes(lambda n: n[0].input.__setitem__(0, "r")), "wait for each other in a circle"),
    "itself": (_nodes(lambda n: n[1].input.__setitem__(0, "r")), "wait for each other in a circle"),
    "lost input": (_nodes(lambda n: n[1].input.__setitem__(0, "q")), "Relu (output 'r') reads 'q', which"),
    "lost output": (
        _nodes(lambda n: n[2].output.__setitem__(0, "q")),
        "nothing makes 'y', an output",
    ),
    "made twice": (_nodes(lambda n: n[1].output.__setitem__(0, "c")), "'c' is redeclared"),
    "no operator": (_nodes(lambda n: n[1].ClearField("op_type")), "makes 'r' names no operator"),
    "no output": (_nodes(lambda n: n[0].ClearField("output")), "a node Conv makes nothing"),
    "no input": (_nodes(lambda n: n[0].ClearField("input")), "has 0 inputs, 2 to 3 are allowed"),
    "empty input": (_nodes(lambda n: n[1].input.__setitem__(0, "")), "lacks its first input"),
    "no attribute": (_nodes(lambda n: setattr(n[1], "op_type", "Cast")), "lacks the attribute 'to'"),
    "attribute type": (
        _nodes(lambda n: n[0].attribute.append(onnx.helper.make_attribute("group", "two"))),
        "has the attribute 'group' as STRING, expected INT",
    ),
    "a stride of 0": (
        _nodes(lambda n: n[0].attribute.append(onnx.helper.make_attribute("strides", [0, 1]))),
        "has strides=(0, 1), expected 1 or more",
    ),
    "no opset": (lambda model: model.ClearField("opset_import"), "of which opset"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(fault: str) -> None:
    model = conv()
    spoil, message = FAULTS[fault]
    spoil(model)
    with pytest.raises(ModelError, match=re.escape(message)):
        model_io.parse(model.SerializeToString())


def test_the_data_of_a_weight_says_its_shape_and_must_be_of_its_declared_type() -> None:
    model = conv()
    model.ir_version = 3
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 2, 3, 3), np.float32), "w"))
    declared = model.graph.input[1].type.tensor_type
    declared.shape.dim[0].dim_value = 7
    assert model_io.from_proto(model).graph.initializers["w"].shape == (4, 2, 3, 3)
    declared.elem_type = onnx.TensorProto.FLOAT16
    with pytest.raises(ModelError, match="'w' is declared as FLOAT16, but its data is FLOAT"):
        model_io.from_proto(model)


def test_nodes_out_of_order_are_put_in_order() -> None:
    model, shuffled = conv(), conv()
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(reversed(model.graph.node))
    assert outline(model_io.from_proto(shuffled)) == outline(model_io.from_proto(model))


def test_a_body_may_read_what_stands_behind_its_node() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[2] x, bool b) => (float[2] y) {
            y = If (b) <then_branch = t () => (float[2] p) { p = Relu (h) },
                        else_branch = e () => (float[2] q) { q = Neg (h) }>
            h = Exp (x) }""")
    assert [node.op_type for node in model_io.from_proto(model).graph] == ["Exp", "If"]


def test_ten_thousand_nested_bodies() -> None:
    """protobuf itself stops at 100 messages within each other, so these are written by hand."""
    graph = onnx.GraphProto(name="g").SerializeToString()
    for _ in range(10_000):
        attribute = _field(1, b"then_branch") + _field(6, graph)
        graph = _field(1, _field(4, b"If") + _field(5, attribute))
    with pytest.raises(ModelError, match="nested deeper than protobuf allows"):
        model_io.parse(b"\x08\x08" + _field(7, graph))


def _field(number: int, payload: bytes) -> bytes:
    size, head = len(payload), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes(head) + bytes([size]) + payload


@pytest.mark.parametrize("start", range(4))
def test_cut_off_and_changed_bytes(start: int) -> None:
    """Of a real model: every outcome but a model or a ModelError would escape here."""
    content, chance = MODEL.read_bytes(), random.Random(start)
    refused = 0
    for i in range(60):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 3, 9))):
            damaged[chance.randrange(min(len(damaged), 6000))] ^= 1 << chance.randrange(8)
        part = bytes(damaged[: chance.randrange(len(damaged))]) if i % 3 == 0 else bytes(damaged)
        try:
            model_io.parse(part)
        except ModelError:
            refused += 1
    assert refused > 20
