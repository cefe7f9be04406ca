"""Models of a few nodes for the tests of edits, and what to ask of them."""

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir

from onnxq.graph.numeric import Array
from onnxq.graph.scopes import scopes

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


def find(model: ir.Model, op_type: str) -> ir.Node:
    return next(node for scope in scopes(model) for node in scope.graph if node.op_type == op_type)


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def some(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value


def compute(model: ir.Model, **feeds: Array) -> list[Array]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return list(onnx.reference.ReferenceEvaluator(proto).run(None, feeds))


X = np.array([-1.5, 0.25], np.float32)
