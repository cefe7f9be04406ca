"""Each way in which an edit can leave a graph that is not well formed is found and named."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxq.errors import ModelError
from onnxq.graph.verify import signature, verify

OnnxText = Callable[..., ir.Model]

TEXT = """g (bool c, float[N,2] x) => (float[N,2] y, float[N,2] b) <float one = {1.0}> {
    a = Add (x, one)
    b = Relu (a)
    y = If (c) <
        then_branch = t () => (float[N,2] u) { p = Neg (a)  u = Exp (p) },
        else_branch = e () => (float[N,2] v) { v = Neg (b) }>
}"""
FUNCTIONS = """<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
g (float[2] x) => (float[2] y) { y = local.f (x) }
<domain: "local", opset_import: ["" : 21, "local" : 1]>
f (a) => (b) { b = local.h (a) }
<domain: "local", opset_import: ["" : 21]>
h (a) => (b) { b = Neg (a) }"""


@pytest.fixture
def model(onnx_text: OnnxText) -> ir.Model:
    return onnx_text(TEXT)


def _then(model: ir.Model) -> ir.Graph:
    return model.graph[2].attributes["then_branch"].as_graph()


def test_well_formed_models_pass_and_keep_their_signature(model: ir.Model, onnx_text: OnnxText) -> None:
    verify(model, signature(model))
    functions = onnx_text(FUNCTIONS)
    verify(functions, signature(functions))


def test_the_signature_has_names_dtypes_and_shapes(model: ir.Model) -> None:
    found = signature(model)
    assert [(p.name, p.dtype, p.shape) for p in found.inputs] == [
        ("c", ir.DataType.BOOL, ()),
        ("x", ir.DataType.FLOAT, ("N", 2)),
    ]
    assert [p.name for p in found.outputs] == ["y", "b"]
    assert {p.dtype for p in found.names_only().outputs} == {None}


def test_initializers_that_are_inputs_need_not_be_fed(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x, float w = {1.0}) => (float[2] y) { y = Add (x, w) }")
    verify(model, signature(model))
    assert [port.name for port in signature(model).inputs] == ["x"]


def test_two_values_of_one_name(model: ir.Model) -> None:
    model.graph[1].outputs[0].name = "a"
    with pytest.raises(
        ModelError, match=r"two values are named 'a': .* by Relu .*, the first by Add \(output 'a'\)"
    ):
        verify(model)


def test_a_name_in_a_body_that_hides_an_outer_one(model: ir.Model) -> None:
    _then(model)[0].outputs[0].name = "one"
    with pytest.raises(ModelError, match="two values are named 'one': the second is made by Neg"):
        verify(model)


def test_branches_may_use_the_same_names(model: ir.Model) -> None:
    _then(model)[0].outputs[0].name = "v"
    verify(model)


def test_a_value_without_a_name(model: ir.Model) -> None:
    model.graph[0].outputs[0].name = None
    with pytest.raises(ModelError, match=r"a value made by Add .* has no name"):
        verify(model)


def test_a_node_before_its_input(model: ir.Model) -> None:
    add = model.graph[0]
    model.graph.remove(add)
    model.graph.append(add)
    with pytest.raises(ModelError, match=r"Relu .* reads 'a' \(input 0\), which Add .* makes later"):
        verify(model)


def test_a_value_whose_maker_is_gone(model: ir.Model) -> None:
    model.graph.remove(model.graph[0])
    with pytest.raises(ModelError, match=r"reads 'a' .* whose maker Add .* has been removed"):
        verify(model)


def test_a_value_that_is_nowhere(model: ir.Model) -> None:
    model.graph[1].replace_input_with(0, ir.Value(name="ghost"))
    with pytest.raises(ModelError, match=r"reads 'ghost' .* no input or initializer"):
        verify(model)


def test_an_impostor_of_the_same_name(model: ir.Model) -> None:
    model.graph[1].replace_input_with(0, ir.Value(name="a"))
    with pytest.raises(ModelError, match=r"Relu .* reads 'a' \(input 0\)"):
        verify(model)


def test_a_value_of_a_body_read_outside(model: ir.Model) -> None:
    model.graph.append(ir.node("Neg", [_then(model)[0].outputs[0]]))
    with pytest.raises(
        ModelError, match=r"reads 'p' .* Neg .* makes later, or in a scope that is not visible"
    ):
        verify(model)


def test_an_output_that_nothing_makes_and_one_given_twice(model: ir.Model) -> None:
    model.graph.outputs.append(model.graph.outputs[0])
    with pytest.raises(ModelError, match="'y' is an output of the model twice"):
        verify(model)
    model.graph.outputs[2] = ir.Value(name="z")
    with pytest.raises(ModelError, match="'z' is an output of the model, which is no input"):
        verify(model)


def test_a_call_of_a_function_that_is_gone(onnx_text: OnnxText) -> None:
    model = onnx_text(FUNCTIONS)
    kept = signature(model)
    del model.functions[("local", "h", "")]
    with pytest.raises(ModelError, match="calls the function local::h, which does not exist"):
        verify(model)
    model.functions.clear()
    with pytest.raises(ModelError, match="calls the function local::f, which does not exist"):
        verify(model, kept)


def test_an_operator_of_a_domain_that_is_not_imported(model: ir.Model) -> None:
    model.graph.append(ir.node("Gelu", [model.graph.inputs[1]], domain="com.microsoft"))
    with pytest.raises(ModelError, match=r"domain 'com.microsoft', which the model does not import"):
        verify(model)


def test_changed_inputs_and_outputs(model: ir.Model) -> None:
    kept = signature(model)
    model.graph.inputs[1].dtype = ir.DataType.INT8
    with pytest.raises(ModelError, match="'x' of the inputs must stay FLOAT; it is INT8"):
        verify(model, kept)
    verify(model, kept.names_only())
    model.graph.outputs.reverse()
    with pytest.raises(ModelError, match="outputs of the model must stay y, b; they are b, y"):
        verify(model, kept.names_only())
