"""A walk over a model meets every scope and every node once, in a stable order."""

from collections.abc import Callable

import onnx_ir as ir

from onnxq.graph.scopes import all_nodes, named_values, scopes, subgraphs

TEXT = """<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
g (bool c, float[2] x) => (float[2] y) {
    a = Neg (x)
    y = If (c) <
        then_branch = t () => (float[2] u) {
            u = If (c) <
                then_branch = tt () => (float[2] p) { p = Exp (a) },
                else_branch = te () => (float[2] q) { q = local.f (a) }>
        },
        else_branch = e () => (float[2] v) { v = Abs (a) }>
}
<domain: "local", opset_import: ["" : 21]>
f (s) => (t) { t = Sin (s) }"""


def test_scopes_come_depth_first_with_their_paths(onnx_text: Callable[..., ir.Model]) -> None:
    found = list(scopes(onnx_text(TEXT)))
    assert [scope.path for scope in found] == [
        "main",
        "main/If.else_branch",
        "main/If.then_branch",
        "main/If.then_branch/If.else_branch",
        "main/If.then_branch/If.then_branch",
        "local::f",
    ]
    assert [scope.is_function for scope in found] == [False] * 5 + [True]


def test_all_nodes_meets_each_once_and_survives_edits(onnx_text: Callable[..., ir.Model]) -> None:
    model = onnx_text(TEXT)
    seen = []
    for node in all_nodes(model):
        seen.append(node.op_type)
        if node.op_type == "Abs":  # an edit while walking is not walked again
            assert isinstance(node.graph, ir.Graph)
            node.graph.insert_before(node, ir.node("Relu", node.inputs))
    assert seen == ["Neg", "If", "Abs", "If", "f", "Exp", "Sin"]


def test_named_values_are_those_of_all_scopes(onnx_text: Callable[..., ir.Model]) -> None:
    model = onnx_text(TEXT)
    found = named_values(model)
    assert set(found) == set("cxayupqvst")
    assert found["a"] is model.graph[0].outputs[0]


def test_subgraphs_are_listed_by_attribute_name(onnx_text: Callable[..., ir.Model]) -> None:
    node = onnx_text(TEXT).graph[1]
    assert [name for name, _ in subgraphs(node)] == ["else_branch", "then_branch"]
    assert list(subgraphs(onnx_text(TEXT).graph[0])) == []
