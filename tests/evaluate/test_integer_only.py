"""float_tensors sees every place where a float can hide."""

import onnx
import onnx_ir as ir
import pytest

from onnxq.evaluate.integer_only import FloatTensor, float_tensors


def _model(text: str) -> ir.Model:
    header = '<ir_version: 10, opset_import: ["" : 21, "own" : 1]>' if "<ir" not in text else ""
    return ir.from_proto(onnx.parser.parse_model(header + text))


INTEGER = """
    g (int8[2] x, bool which) => (int8[2] y) <int8[2] one = {1, 1}> {
        wide = Cast <to = 6> (x)
        y = If (which) <
            then_branch = t () => (int8[2] a) { a = Add (x, one) },
            else_branch = e () => (int8[2] b) { b = Identity (x) }
        >
    }"""


def test_an_integer_model_has_none() -> None:
    assert float_tensors(_model(INTEGER)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "g (float[2] x) => (int64[1] y) { y = Shape (x) }",
            FloatTensor("x", "main", "float, input of the graph, read by Shape (output 'y')"),
        ),
        (
            "g (int8[2] x) => (int8[2] y) <float[1] c = {1.5}> { y = Identity (x) }",
            FloatTensor("c", "main", "float initializer, read by no node"),
        ),
        (
            "g (int8[2] x) => (int8[2] y) { f = Cast <to = 10> (x) y = Cast <to = 3> (f) }",
            FloatTensor("f", "main", "float16, made by Cast (output 'f')"),
        ),
        (
            "g (int8[2] x) => (int8[2] y) { y = own.Scale <by = 0.5> (x) }",
            FloatTensor("by", "main", "float attribute of Scale (output 'y')"),
        ),
        (
            "g (int8[2] x) => (int64[1] y) { c = Constant <value = float[1] {0.5}> () y = Shape (c) }",
            FloatTensor("value", "main", "float tensor attribute of Constant (output 'c')"),
        ),
        (
            "g (int8[2] x) => (int8[2] y) { u = own.Unknown (x) y = Cast <to = 3> (u) }",
            FloatTensor("u", "main", "of unknown type, made by Unknown (output 'u')"),
        ),
    ],
)
def test_finding_and_its_reason(text: str, expected: FloatTensor) -> None:
    assert expected in float_tensors(_model(text))


def test_bodies_and_functions_are_searched() -> None:
    body = INTEGER.replace("a = Add (x, one)", "f = Cast <to = 1> (x) a = Cast <to = 3> (f)")
    assert [found.name for found in float_tensors(_model(body))] == ["f"]
    function = """
        <ir_version: 10, opset_import: ["" : 21, "own" : 1]>
        g (int8[2] x) => (int8[2] y) { y = own.Half (x) }
        <opset_import: ["" : 21], domain: "own">
        Half (x) => (y) { f = Cast <to = 1> (x) y = Cast <to = 3> (f) }"""
    assert "f" in [found.name for found in float_tensors(_model(function))]
