"""Weights in a file beside the model: read only where they may be, written whole or not at all."""

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.errors import ModelError
from onnxq.graph.numeric import Array
from onnxq.model_io import from_proto, load, parse, save, sha256_of, to_proto

from .model_files import EXPECTED, WEIGHT, make, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model whose weight lies in ``m.onnx.data``."""
    path = tmp_path / "m.onnx"
    save(from_proto(make()), path, external=True)
    return path


ELSEWHERE = "is not a path inside|leaves the folder"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("location", "../secret", ELSEWHERE),
        ("location", "/etc/passwd", ELSEWHERE),
        ("location", "C:\\secret", ELSEWHERE),
        ("location", "a\\..\\..\\secret", ELSEWHERE),
        ("location", "link", ELSEWHERE),
        ("location", "gone.data", "there is no file"),
        ("location", ".", "there is no file"),
        ("offset", "1", "bytes 1 to 4097 are declared, but 'm.onnx.data' has 4096"),
        ("offset", "-4096", "offset '-4096' is no number"),
        ("offset", "9" * 30, "are declared"),
        ("length", "4095", "takes 4096 bytes, but 4095 are declared"),
        ("offset", "many", "offset 'many' is no number"),
    ],
)
def test_external_data_is_only_read_where_it_may_and_is(path: Path, key: str, value: str, says: str) -> None:
    (path.parent.parent / "secret").write_bytes(bytes(4096))
    (path.parent / "link").symlink_to(path.parent.parent / "secret")
    proto = onnx.load(path, load_external_data=False)
    entries = {entry.key: entry for entry in proto.graph.initializer[0].external_data}
    entries[key].value = value
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=says) as caught:
        load(path)
    assert "tensor 'w'" in str(caught.value)


def test_external_data_needs_a_folder(path: Path) -> None:
    with pytest.raises(ModelError, match="not loaded from a folder"):
        parse(path.read_bytes())


@pytest.mark.parametrize(
    "dtype", [ir.DataType.INT4, ir.DataType.UINT8, ir.DataType.BFLOAT16, ir.DataType.BOOL]
)
def test_every_width_survives_embedded_and_external(tmp_path: Path, dtype: ir.DataType) -> None:
    array = (np.arange(4097) % 2).astype(dtype.numpy())
    value = ir.Value(name="c", const_value=ir.tensor(array, dtype=dtype, name="c"))
    y = ir.Node("", "Identity", [value], num_outputs=1).outputs[0]
    y.name, y.type, y.shape = "y", ir.TensorType(dtype), ir.Shape([4097])
    graph = ir.Graph([], [y], nodes=[y.producer()], initializers=[value], opset_imports={"": 21})  # type: ignore[list-item]
    model = ir.Model(graph, ir_version=10)
    for external in (False, True):
        save(model, tmp_path / "m.onnx", external=external)
        tensor = load(tmp_path / "m.onnx").graph.initializers["c"].const_value
        assert tensor is not None
        assert tensor.dtype == dtype
        np.testing.assert_array_equal(tensor.numpy().astype(np.float32), array.astype(np.float32))


def test_the_hash_covers_external_data(path: Path) -> None:
    before = sha256_of(path)
    assert sha256_of(path) == before
    data = path.with_name("m.onnx.data")
    data.write_bytes(bytes(4095) + b"\1")
    assert sha256_of(path) != before
    data.unlink()
    with pytest.raises(ModelError, match="there is no file"):
        sha256_of(path)


def test_the_weight_of_a_constant_node_stays_in_the_model(tmp_path: Path) -> None:
    proto = make()
    weight = proto.graph.initializer.pop(0)
    proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=weight))
    save(from_proto(proto), tmp_path / "m.onnx", external=True)
    assert os.listdir(tmp_path) == ["m.onnx"]
    np.testing.assert_array_equal(run(tmp_path / "m.onnx"), EXPECTED)


@pytest.mark.parametrize("external", [False, True])
def test_a_full_disk_leaves_the_old_files_and_no_others(
    path: Path, monkeypatch: pytest.MonkeyPatch, external: bool
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    model = load(path)
    model.graph.initializers["w"].const_value = ir.tensor(WEIGHT * 2)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="No space left on device; nothing was changed"):
        save(model, path, external=external)
    assert sorted(os.listdir(path.parent)) == ["m.onnx", "m.onnx.data"]
    np.testing.assert_array_equal(run(path), EXPECTED)


def test_an_interruption_while_writing_leaves_no_trace(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(ir.Tensor[Array]):
        def tobytes(self) -> bytes:
            raise KeyboardInterrupt

    model = load(path)
    model.graph.initializers["w"].const_value = Interrupting(WEIGHT)
    with pytest.raises(KeyboardInterrupt):
        save(model, path, external=True)
    assert sorted(os.listdir(path.parent)) == ["m.onnx", "m.onnx.data"]
    np.testing.assert_array_equal(run(path), EXPECTED)


def test_saving_leaves_the_model_as_it_is(path: Path) -> None:
    model = load(path)
    before = to_proto(model).SerializeToString(deterministic=True)
    tensor = model.graph.initializers["w"].const_value
    save(model, path.with_name("other.onnx"), external=True)
    assert model.graph.initializers["w"].const_value is tensor
    assert to_proto(model).SerializeToString(deterministic=True) == before
