"""What is known to bite in onnx-ir, each once: that it still does, or that our layer above it does not."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxq
from onnxq import model_io
from onnxq.errors import ModelError
from onnxq.graph.match import constant, constants, producer
from onnxq.graph.outline import outline
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.pipeline.context import Context

OnnxText = Callable[..., ir.Model]
WEIGHT = np.arange(2048, dtype=np.float32)


@pytest.fixture
def path(tmp_path: Path, onnx_text: OnnxText) -> Path:
    """A saved model with an external weight."""
    model = onnx_text("g (float[2048] x) => (float[2048] y) <float[2048] w> { y = Add (x, w) }")
    model.graph.initializers["w"].const_value = ir.tensor(WEIGHT)
    model_io.save(model, tmp_path / "m.onnx", external=True)
    return tmp_path / "m.onnx"


def weight(model: ir.Model) -> ir.TensorProtocol:
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    return tensor


def test_1_saving_elsewhere_takes_the_weights_along(path: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for model in (model_io.load(path), ir.load(path)):
        model_io.save(model, tmp_path / "far" / "m.onnx")
        read = onnx.load(tmp_path / "far" / "m.onnx")
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(read.graph.initializer[0]), WEIGHT)


def test_2_saving_over_its_own_data_leaves_the_live_model_intact(path: Path) -> None:
    model = model_io.load(path)
    other = ir.Value(name="a", const_value=ir.tensor(WEIGHT[::-1] * 2, name="a"))
    other.type, other.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([2048])
    values = dict(model.graph.initializers)
    model.graph.initializers.clear()
    for value in (other, *values.values()):  # now w begins at another offset
        model.graph.register_initializer(value)
    for _ in range(2):
        model_io.save(model, path, external=True)
        np.testing.assert_array_equal(weight(model).numpy(), WEIGHT)
        np.testing.assert_array_equal(weight(model_io.load(path)).numpy(), WEIGHT)


def test_2_a_data_file_that_moves_under_a_loaded_model_is_still_read(path: Path) -> None:
    model = model_io.load(path)
    path.with_name("m.onnx.data").unlink()
    np.testing.assert_array_equal(weight(model).numpy(), WEIGHT)


def test_3_what_exceeds_a_message_becomes_external_by_itself(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_io.load(path)
    model_io.save(model, path.with_name("small.onnx"))
    monkeypatch.setattr(model_io, "_MESSAGE_LIMIT", model_io._MARGIN + WEIGHT.nbytes)
    model_io.save(model, path.with_name("large.onnx"))
    with pytest.raises(ModelError, match="larger than 2 GB"):
        model_io.to_proto(model)
    model_io.check(model)
    found = {file.name for file in path.parent.glob("*.data")}
    assert found == {"m.onnx.data", "large.onnx.data"}


def test_4_a_replaced_output_keeps_its_public_name_and_type(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[N] x) => (float[N] y) { y = Relu (x) }")
    rw = Rewriter(model)
    rw.replace(model.graph.node(0), rw.op("Abs", [model.graph.inputs[0]], output="z"))
    (output,) = model.graph.outputs
    assert (output.name, output.dtype, str(output.shape)) == ("y", ir.DataType.FLOAT, "[N]")
    model_io.check(model)


def test_5_new_values_have_the_type_of_what_they_replace(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y) { a = Relu (x) y = Neg (a) }")
    InferShapes().run(model, Context())
    rw = Rewriter(model)
    rw.replace(model.graph.node(0), rw.op("Abs", [model.graph.inputs[0]]))
    value = model.graph.node(0).outputs[0]
    assert (value.name, value.dtype, value.shape) == ("a", ir.DataType.FLOAT, ir.Shape([2]))


@pytest.mark.parametrize("flaw", ["duplicate", "dangling"])
def test_6_duplicate_names_and_dangling_inputs_are_seen_by_check(onnx_text: OnnxText, flaw: str) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y) { a = Relu (x) b = Abs (a) y = Neg (b) }")
    first, second = list(model.graph)[:2]
    if flaw == "duplicate":
        second.outputs[0].name = first.outputs[0].name
    else:
        second.replace_input_with(0, ir.Value(name="nowhere"))
    with pytest.raises(ModelError, match=r"not valid ONNX: .*(SSA|unique|sorted|nowhere)"):
        model_io.check(model)


def test_6_a_node_that_is_still_read_is_not_removed(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y) { a = Relu (x) y = Neg (a) }")
    Rewriter(model).remove(model.graph.node(0))
    assert len(model.graph) == 2


def test_7_nobody_looks_up_the_position_of_a_node() -> None:
    """graph.index() and graph[i] walk the list from its head: seconds, in a loop over a large graph."""
    root = Path(onnxq.__file__).parent
    for file in [*root.rglob("*.py"), *(root / "passes").resolve().rglob("*.py")]:
        assert not re.search(r"graph\.index\(|\bgraph\[[^]\"']", file.read_text()), file


def test_8_constants_hide_in_nodes_and_overridable_inputs_are_none(onnx_text: OnnxText) -> None:
    model = onnx_text("""g (float[2] x, float[2] w) => (float[2] y)
        <float[2] w = {1, 2}, float[2] k = {3, 4}> {
        c = Constant <value = float[2] {5, 6}> ()
        y = Sum (x, w, k, c)
    }""")
    x, w, k, c = model.graph.node(1).inputs
    assert (constant(x), constant(w)) == (None, None)
    found = constants([k, c])
    assert found is not None
    np.testing.assert_array_equal(found, [[3, 4], [5, 6]])


BODIES = """<ir_version: 10, opset_import: ["": 21, "f": 1]> g (float[2] x, bool c) => (float[2] y) {
        y = If (c) <then_branch = t () => (float[2] a) { a = Relu (x) },
                    else_branch = e () => (float[2] b) { b = f.F (x) }>
    }
    <domain: "f", opset_import: ["": 21]> F (a) => (b) { b = Neg (a) }"""


def test_9_every_scope_is_walked_and_new_nodes_go_where_the_old_one_was(onnx_text: OnnxText) -> None:
    model = onnx_text(BODIES)
    ops = {node.op_type: node for node in all_nodes(model)}
    assert sorted(ops) == ["F", "If", "Neg", "Relu"]
    rw = Rewriter(model)
    for op in ("Relu", "Neg"):
        home = ops[op].graph
        y = rw.op("Mul", [ops[op].inputs[0], rw.const(np.ones(2, np.float32), "k")])
        rw.replace(ops[op], y)
        maker = producer(y)
        assert maker is not None
        assert maker.graph is home
    model_io.check(model)


def test_9_a_constant_for_an_input_of_a_function_becomes_a_node(onnx_text: OnnxText) -> None:
    """Functions hold no initializers; what was registered as one would be lost without a word."""
    model = onnx_text(BODIES.replace("b = Neg (a)", "b = Add (a, a)"))
    add = next(node for node in all_nodes(model) if node.op_type == "Add")
    rw = Rewriter(model)
    rw.set_input(add, 1, rw.const(np.ones(2, np.float32), "k"))
    assert producer(add, 1, "Constant") is not None
    model_io.check(model_io.from_proto(model_io.to_proto(model)))


def test_10_what_onnx_refuses_is_reported_and_raised(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2,3] x) => (float[a,b] y) { t = MatMul (x, x) y = Relu (t) }")
    assert InferShapes().run(model, Context()).skips
    with pytest.raises(ModelError, match="Incompatible dimensions"):
        model_io.check(model)


def test_12_the_outline_is_stable_and_names_a_constant_once(onnx_text: OnnxText) -> None:
    text = "g (float[2] x) => (float[2] y) <float[2] weight> { a = Add (x, weight) y = Relu (a) }"
    first, second = (outline(onnx_text(text)) for _ in range(2))
    assert first == second
    assert first.count("weight") == 1
    assert "0x" not in first


def test_13_absent_inputs_are_none_and_no_error(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float[2] x) => (float[2] y) <float hi = {1}> { a = Relu (x) y = Clip (a, , hi) }")
    clip = model.graph.node(1)
    assert producer(clip, 0, "Relu") is not None
    assert (producer(clip, 1), producer(clip, 9), constants(clip.inputs[1:])) == (None, None, None)


def test_a_sparse_initializer_is_refused_because_onnx_ir_drops_it() -> None:
    """Not in silence, as onnx-ir does."""
    text = "<ir_version: 8, opset_import: ['': 19]> g (float[2] x) => (float[2] y) { y = Relu (x) }"
    proto = onnx.parser.parse_model(text.replace("'", '"'))
    proto.graph.sparse_initializer.add().values.name = "s"
    assert not ir.to_proto(ir.from_proto(proto)).graph.sparse_initializer
    with pytest.raises(ModelError, match="'s' is sparse"):
        model_io.from_proto(proto)
