"""Sessions are quiet and say in one line what is wrong; taps agree with ONNX's reference evaluator."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from onnxq import external, model_io
from onnxq.errors import DataError, ModelError
from onnxq.graph.numeric import Array
from onnxq.runtime import Port, Session

TEXT = """<ir_version: 8, opset_import: ["" : 19], metadata_props: ["made": "by hand"]>
    g (float[N,4] x) => (float[N,3] y) {
        t = MatMul(x, w)
        r = Relu(t)
        n = Shape(r)
        y = Softmax(r)
    }"""
X = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)


@pytest.fixture
def proto() -> onnx.ModelProto:
    proto = onnx.parser.parse_model(TEXT)
    weight = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return proto


def reference(proto: onnx.ModelProto) -> dict[str, Array]:
    evaluator = onnx.reference.ReferenceEvaluator(proto)
    arrays = evaluator.run(None, {"x": X})
    assert isinstance(arrays, list)
    return dict(zip(evaluator.output_names, arrays, strict=True))


def test_every_kind_of_model_runs_the_same(proto: onnx.ModelProto, tmp_path: Path) -> None:
    model = model_io.from_proto(proto)
    model_io.save(model, tmp_path / "m.onnx", external=True)
    expected = reference(proto)["y"]
    for source in (model, proto, proto.SerializeToString(), tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
        np.testing.assert_allclose(Session(source, threads=1).run({"x": X})["y"], expected, rtol=1e-6)


def test_inputs_outputs_and_metadata(proto: onnx.ModelProto) -> None:
    session = Session(proto)
    assert session.inputs == (Port("x", np.dtype(np.float32), ("N", 4)),)
    assert session.outputs == (Port("y", np.dtype(np.float32), ("N", 3)),)
    assert session.metadata == {"made": "by hand"}


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("as_file", [False, True])
def test_taps_show_untyped_values_inputs_and_weights(
    proto: onnx.ModelProto, tmp_path: Path, optimize: bool, as_file: bool
) -> None:
    assert not proto.graph.value_info  # their types are for ONNX Runtime to infer
    names = ["t", "r", "n", "x", "w", "y"]
    everything = onnx.ModelProto()
    everything.CopyFrom(proto)
    everything.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name != "y")
    expected = reference(everything)
    source: onnx.ModelProto | Path = proto
    if as_file:
        source = tmp_path / "m.onnx"
        source.write_bytes(proto.SerializeToString())
    before = proto.SerializeToString()
    session = Session(source, extra_outputs=names, optimize=optimize, threads=1)
    assert [port.name for port in session.outputs] == ["y", "t", "r", "n", "x", "w"]
    for name, array in session.run({"x": X}).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-6, atol=1e-6)
    assert list(session.run({"x": X}, ["r"])) == ["r"]
    assert proto.SerializeToString() == before


def test_more_than_one_message_goes_through_a_file_that_is_gone_afterwards(
    proto: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_io.from_proto(proto)
    expected = Session(model, extra_outputs=["r"]).run({"x": X})
    monkeypatch.setattr(model_io, "_MESSAGE_LIMIT", model_io._MARGIN)
    monkeypatch.setattr(external, "EXTERNAL_FROM", 8)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = Session(model, extra_outputs=["r"]).run({"x": X})
    assert os.listdir(tmp_path) == []
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda m: setattr(m.graph.node[1], "op_type", "Nonsense"), "Nonsense"),
        (lambda m: setattr(m.graph.node[1], "domain", "foo"), "foo.*import or lower"),
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", 5), "MatMul"),
        (lambda m: m.graph.node[0].input.pop(), "MatMul"),
        (lambda m: setattr(m, "ir_version", 99), "older opset, or update onnxruntime"),
    ],
)
def test_a_model_that_cannot_be_loaded_names_the_operator_in_one_quiet_line(
    proto: onnx.ModelProto,
    capfd: pytest.CaptureFixture[str],
    edit: Callable[[onnx.ModelProto], None],
    says: str,
) -> None:
    edit(proto)
    with pytest.raises(ModelError, match=f"ONNX Runtime cannot load the model: .*{says}") as caught:
        Session(proto.SerializeToString())
    assert "\n" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_node_that_fails_is_quiet_too(capfd: pytest.CaptureFixture[str]) -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 19]>
        g (float[N] x, int64[M] s) => (float[A,B] y) {y = Reshape(x, s)}"""
    )
    session = Session(proto)
    with pytest.raises(ModelError, match=r"cannot run the model: .*Reshape"):
        session.run({"x": np.ones(4, np.float32), "s": np.array([3, 3])})
    assert capfd.readouterr() == ("", "")


def test_missing_files_providers_and_values(proto: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx': there is no such file"):
        Session(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match=r"no execution provider 'Abacus' here; it has .*CPU"):
        Session(proto, providers=["Abacus"])
    with pytest.raises(ModelError, match=r"nothing.*does not exist.*ask for a value"):
        Session(proto, extra_outputs=["nothing"])
    with pytest.raises(ModelError, match="no output 'z'; it has y"):
        Session(proto).run({"x": X}, ["z"])


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, "input 'x' has no array"),
        ({"x": X, "z": X}, "no input 'z'; its inputs are x"),
        ({"x": X.astype(np.float64)}, r"takes float32\[N,4\], but the array is float64\[2,4\]"),
        ({"x": X[:, :3]}, r"takes float32\[N,4\], but the array is float32\[2,3\]"),
        ({"x": X[0]}, r"float32\[4\]"),
    ],
)
def test_feeds_that_do_not_fit(proto: onnx.ModelProto, feeds: dict[str, Array], says: str) -> None:
    with pytest.raises(DataError, match=says):
        Session(proto).run(feeds)


def test_an_overridable_initializer_may_be_fed(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [4, 3]))
    session = Session(proto, optimize=False)
    assert [port.name for port in session.inputs] == ["x"]
    y = session.run({"x": X, "w": np.zeros((4, 3), np.float32)})["y"]
    np.testing.assert_allclose(y, np.full((2, 3), 1 / 3), rtol=1e-6)


def test_a_foreign_lazy_model_runs_from_memory(proto: onnx.ModelProto, tmp_path: Path) -> None:
    """ir.load keeps references to the data file, which mean nothing to a session that is given bytes."""
    big = onnx.numpy_helper.from_array(np.ones((4, 256), np.float32), "w")
    proto.graph.initializer[0].CopyFrom(big)
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 256
    model_io.save(model_io.from_proto(proto), tmp_path / "m.onnx", external=True)
    assert Session(ir.load(tmp_path / "m.onnx")).run({"x": X})["y"].shape == (2, 256)
