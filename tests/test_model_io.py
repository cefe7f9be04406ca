"""Loading refuses what is damaged; saving is deterministic, and says where it cannot write."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxq import model_io
from onnxq.errors import ModelError, OnnxqError
from onnxq.model_io import check, from_proto, load, parse, save, to_proto

from .model_files import EXPECTED, TEXT, WEIGHT, make, run


@pytest.mark.parametrize("external", [False, True, None])
def test_onnx_and_onnx_runtime_read_what_was_saved(tmp_path: Path, external: bool | None) -> None:
    save(from_proto(make()), tmp_path / "m.onnx", external=external)
    np.testing.assert_array_equal(run(tmp_path / "m.onnx"), EXPECTED)
    read = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(read, full_check=True)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(read.graph.initializer[0]), WEIGHT)
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "m.onnx.data"][: 2 if external else 1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"this is a text, no model\n" * 9, "not an ONNX model"),
        (make().SerializeToString()[:-7], "cut off"),
        (b"\x08\x08", "no graph"),
        (
            onnx.parser.parse_model(TEXT.replace("19", "999")).SerializeToString(),
            r"opset 999 is not known.*1 to",
        ),
        (make(ir_version=999).SerializeToString(), "IR version 999 is newer"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=says) as caught:
        load(tmp_path / "m.onnx")
    assert "m.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="no regular file"):
        load(tmp_path)


def test_a_graph_without_outputs_and_a_sparse_initializer_are_refused() -> None:
    proto = make()
    del proto.graph.output[:]
    with pytest.raises(ModelError, match="no output"):
        from_proto(proto)
    proto = make()
    proto.graph.sparse_initializer.add().values.name = "s"
    with pytest.raises(ModelError, match="'s' is sparse"):
        from_proto(proto)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda t: t.dims.append(1 << 40), r"takes 4503599627370496 bytes, but there are 4096"),
        (lambda t: t.dims.__setitem__(0, -4), "negative"),
        (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), "takes 4096 bytes, but there are 4095"),
        (lambda t: setattr(t, "data_type", 10), "takes 2048 bytes"),
        (lambda t: setattr(t, "data_type", 4711), "4711"),
        (lambda t: (t.ClearField("raw_data"), t.float_data.append(1)), "takes 1024 numbers, but there are 1"),
    ],
)
def test_a_weight_that_is_not_what_it_declares_is_refused(
    edit: Callable[[onnx.TensorProto], object], says: str
) -> None:
    proto = make()
    edit(proto.graph.initializer[0])
    with pytest.raises(ModelError, match=says):
        from_proto(proto)


def test_a_constant_in_a_body_is_checked_too() -> None:
    node = onnx.helper.make_node("Constant", [], ["t"], value=onnx.numpy_helper.from_array(WEIGHT, "deep"))
    node.attribute[0].t.dims[0] = 5
    body = onnx.helper.make_graph([node], "b", [], [onnx.ValueInfoProto(name="t")])
    proto = make()
    proto.graph.node.append(onnx.helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body))
    with pytest.raises(ModelError, match="takes 5120 bytes, but there are 4096"):
        from_proto(proto)


def test_initializers_among_the_inputs() -> None:
    """Constants by necessity before IR version 4, defaults that may be overridden from then on."""
    for version, names in ((3, ["x"]), (4, ["x", "w"])):
        proto = make(ir_version=version)
        proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [4, 256]))
        model = from_proto(proto)
        assert [value.name for value in model.graph.inputs] == names
        assert "w" in model.graph.initializers
        assert model.ir_version == 4
        check(model)


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    for name, keys in (("a", "pqr"), ("b", "rqp")):
        model = from_proto(make())
        model.metadata_props.update(dict.fromkeys(keys, "1"))
        save(model, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    model = from_proto(make())
    with pytest.raises(ModelError, match=r"folder '.*nowhere' does not exist"):
        save(model, tmp_path / "nowhere" / "m.onnx")
    with pytest.raises(ModelError, match="no regular file"):
        save(model, tmp_path)
    with pytest.raises(ModelError, match="no regular file"):
        save(model, Path(os.devnull))
    assert not Path(os.devnull).is_file()


def test_the_skeleton_has_small_constants_only() -> None:
    model = from_proto(make())
    large, small = model_io.skeleton(model).graph.initializer
    assert (list(large.dims), large.HasField("raw_data")) == ([4, 256], False)
    assert onnx.numpy_helper.to_array(small) == np.float32(0.5)
    assert to_proto(model).ByteSize() > 4096 > model_io.skeleton(model).ByteSize()


@settings(max_examples=150)
@given(data=st.data())
def test_no_damaged_file_gets_past_with_anything_but_an_error_of_ours(data: st.DataObject) -> None:
    content = bytearray(make().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        header = st.integers(0, 80) | st.integers(len(content) - 120, len(content) - 1)
        content[data.draw(header)] = data.draw(st.integers(0, 255))
    try:
        model = parse(bytes(content))
        to_proto(model)
    except OnnxqError:
        pass
