"""What is inferred is what ONNX Runtime computes; what is declared stays."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest

from onnxq import model_io
from onnxq.graph.outline import type_text
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

OnnxText = Callable[..., ir.Model]


def infer(model: ir.Model) -> tuple[Outcome, dict[str, str]]:
    outcome = InferShapes().run(model, Context())
    assert InferShapes().run(model, Context()).edits == 0
    return outcome, {v.name or "": type_text(v) for node in all_nodes(model) for v in node.outputs}


def test_types_shapes_and_symbolic_axes(onnx_text: OnnxText) -> None:
    outcome, found = infer(
        onnx_text("""g (float[N,3,8] x) => (float[N,24] y) <int64[2] k = {0, -1}> {
            a = Transpose <perm = [0,2,1]> (x)
            b = ArgMax <keepdims = 0> (a)
            c = Cast <to = 1> (b)
            r = Reshape (a, k)
            y = Relu (r)
        }""")
    )
    assert found == {
        "a": "float32[N,8,3]",
        "b": "int64[8,3]",
        "c": "float32[8,3]",
        "r": "float32[N,24]",
        "y": "float32[N,24]",
    }
    assert (outcome.edits, list(outcome.skips)) == (4, [])


def test_shape_arithmetic_is_followed(onnx_text: OnnxText) -> None:
    _, found = infer(
        onnx_text("""g (float[4,3,8] x) => (float[a,b] y)
            <int64 zero = {0}, int64[1] rest = {-1}, int64[1] at = {0}> {
            s = Shape (x)
            n = Gather (s, zero)
            m = Unsqueeze (n, at)
            t = Concat <axis = 0> (m, rest)
            r = Reshape (x, t)
            y = Relu (r)
        }""")
    )
    assert found["r"] == "float32[4,24]"
    assert found["y"] == "float32[a,b]", "the declared type of an output is not ours to change"


def test_bodies_are_inferred_with_what_they_capture(onnx_text: OnnxText) -> None:
    _, found = infer(
        onnx_text(
            """g (float[2,3] x, bool c) => (float[N] y) {
            y = If (c) <
                then_branch = t () => (float[N] a) { u = Transpose (x) a = ReduceSum <keepdims = 0> (u, ax) },
                else_branch = e () => (float[N] b) { v = Relu (x) b = ReduceSum <keepdims = 0> (v, ax) }
            >
        }""".replace(
                "(float[2,3] x, bool c) => (float[N] y)",
                "(float[2,3] x, bool c) => (float[N] y) <int64[1] ax = {1}>",
            )
        )
    )
    assert (found["u"], found["v"]) == ("float32[3,2]", "float32[2,3]")


def test_axes_that_onnx_made_up_stay_unknown(onnx_text: OnnxText) -> None:
    _, found = infer(onnx_text("g (float[N] x) => (int64[a,b] y) { n = NonZero (x) y = Identity (n) }"))
    assert found["n"] == "int64[1,?]"


def test_declared_types_stay_and_gaps_in_them_are_filled(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[N,3] x) => (float[N,3] y) { a = Relu (x) b = Neg (a) y = Exp (b) }")
    a, b = (node.outputs[0] for node in list(model.graph)[:2])
    a.type, a.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["M", 3])
    b.shape = ir.Shape([None, None])
    outcome, found = infer(model)
    assert (found["a"], found["b"], outcome.edits) == ("float32[M,3]", "float32[M,3]", 1)


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ("a = foo.Bar (x)", "no rule for foo::Bar"),
        ("a = MatMul (x, x)", "Incompatible dimensions"),
    ],
)
def test_what_onnx_cannot_infer_is_a_reason_and_no_failure(onnx_text: OnnxText, node: str, says: str) -> None:
    model = onnx_text(f"g (float[2,3] x) => (float[N,3] y) {{ {node} y = Relu (a) z = Relu (x) }}")
    outcome, found = infer(model)
    assert found["z"] == "float32[2,3]"
    assert [says in skip.reason for skip in outcome.skips] == [True]


def test_large_weights_stay_out_of_the_round_trip_through_protobuf() -> None:
    weight = ir.tensor(np.broadcast_to(np.float32(1), (512, 512)))  # a copy through protobuf would be 10 GB
    x = ir.val("x", ir.DataType.FLOAT, (1, 512))
    nodes, weights, value = [], [], x
    for i in range(10_000):
        w = ir.Value(
            name=f"w{i}",
            type=ir.TensorType(ir.DataType.FLOAT),
            shape=ir.Shape((512, 512)),
            const_value=weight,
        )
        nodes.append(ir.node("MatMul", [value, w]))
        weights.append(w)
        value = nodes[-1].outputs[0]
        value.name = f"v{i}"
    graph = ir.Graph([x], [value], nodes=nodes, initializers=weights, opset_imports={"": 19}, name="g")
    outcome = InferShapes().run(ir.Model(graph, ir_version=9), Context())
    assert (outcome.edits, type_text(value)) == (10_000, "float32[1,512]")


@pytest.mark.parametrize("name", ["silero_vad_16k", "magika_v3_3", "resnet8_cifar10"])
def test_evaluation_models_compute_what_is_inferred(zoo: ModuleType, name: str) -> None:
    entry = zoo.load(name)
    model = model_io.load(entry.float_model)
    InferShapes().run(model, Context())
    values = {v.name or "": v for node in model.graph for v in node.outputs}
    arrays = Session(model, extra_outputs=list(values), threads=1).run(next(iter(entry.calibration(1))))
    for value_name, array in arrays.items():
        value = values[value_name]
        assert value.dtype is not None
        assert value.dtype.numpy() == array.dtype
        dims = value.shape if value.shape is not None else array.shape
        assert len(dims) == array.ndim
        assert all(
            not isinstance(dim, int) or dim == size for dim, size in zip(dims, array.shape, strict=True)
        )
