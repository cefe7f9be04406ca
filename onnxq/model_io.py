"""The door between ONNX files and the model in memory; nothing else touches protobuf or external data.

    model = load(Path("model.onnx"))        # weights in external files are mapped, not read
    save(model, Path("out.onnx"))           # one file, or out.onnx + out.onnx.data from 2 GB on

A file may come from anywhere: every declared size is compared with the bytes that are there before anything
is allocated, and external data is only read inside the model's own folder. Writing replaces a file in one
step, so the model that is being written may be the one the file holds. Equal models give equal bytes.
"""

import hashlib
import logging
import tempfile
from pathlib import Path
from typing import TypeAlias

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError

from onnxq.errors import ModelError, OnnxqError, UsageError
from onnxq.external import EXTERNAL_FROM, goes_out, left_out, written_out
from onnxq.files import contained, replacing, write_atomically
from onnxq.graph.forms import check_forms
from onnxq.graph.wiring import check_wiring
from onnxq.headers import check_header
from onnxq.tensors import check_sizes, embed_external, settle_types, tensor_slots

__all__ = [
    "ModelSource",
    "check",
    "fits_one_message",
    "from_proto",
    "load",
    "parse",
    "save",
    "sha256_of",
    "skeleton",
    "to_proto",
]

ModelSource: TypeAlias = ir.Model | Path | str
"""A model in memory, or the path of one."""

logging.getLogger("onnx_ir").addHandler(logging.NullHandler())  # what it logs is raised here, in one line

_MESSAGE_LIMIT = 2**31 - 1
_MARGIN = 2**26  # nodes, names and types besides the weights


def load(path: Path | str) -> ir.Model:
    """Read a model. External data is mapped: its pages come into memory as they are used.

    Before IR version 4 every initializer had to be listed among the inputs too. There they are taken for the
    constants they are and the model becomes IR version 4. From 4 on an initializer among the inputs is a
    default that the caller may override, and stays one.

    Raises:
        ModelError: no readable, complete ONNX model of a known version; or its external data is missing,
            too short or outside the model's folder.
    """
    path = Path(path)
    try:
        return parse(_read(path), path.parent)
    except ModelError as error:
        raise ModelError(f"cannot load '{path}': {error}") from error


def parse(content: bytes, folder: Path | None = None) -> ir.Model:
    """Like :func:`load`, from the bytes of a model file; ``folder`` is where external data may lie."""
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        if "MaxDepth" in str(error):
            raise ModelError("its graphs are nested deeper than protobuf allows (100 messages)") from error
        raise ModelError("it is not an ONNX model, or it is cut off (no protobuf message)") from error
    return from_proto(proto, folder)


def from_proto(proto: onnx.ModelProto, folder: Path | None = None) -> ir.Model:
    """The model of a protobuf message, checked like a file.

    Raises:
        ModelError: as for :func:`load`.
    """
    check_header(proto)
    try:
        model = ir.from_proto(proto)
        check_sizes(model)
        settle_types(model)
        check_forms(model)
        check_wiring(model)
        embed_external(model, folder)
    except OnnxqError:
        raise
    except Exception as error:  # onnx-ir raises whatever it stumbles over in a damaged message
        raise ModelError(f"it is not a valid ONNX model: {_root_cause(error)}") from error
    if model.ir_version < 4:
        _free_initializers(model)
    return model


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """One protobuf message with all weights inside.

    Raises:
        ModelError: a tensor's data is outside the model, or the message would exceed 2 GB.
    """
    if not fits_one_message(model):
        raise ModelError("the model is larger than 2 GB and does not fit into one protobuf message")
    embed_external(model)
    return _serialized(model)


def skeleton(model: ir.Model, below: int = EXTERNAL_FROM) -> onnx.ModelProto:
    """The model without its large tensors: they keep name, type and shape but point to no existing file.

    For tools that look at types and shapes only; small whatever the size of the model. Tensors of less than
    ``below`` bytes are there in full.

    Raises:
        ModelError: as for :func:`to_proto`.
    """
    with left_out(model, below):
        return _serialized(model)


def save(model: ir.Model, path: Path | str, *, external: bool | None = None) -> None:
    """Write a model; the model stays as it is.

    ``external`` puts the initializers of 1 KB and more, if there are any, into ``<path>.data`` beside it;
    None does so when the model exceeds 2 GB.

    Raises:
        ModelError: it cannot be written there or not serialized; older files of that name are untouched.
    """
    path = Path(path)
    if external is None:
        external = not fits_one_message(model)
    split = external and any(goes_out(slot) for slot in tensor_slots(model))
    try:
        _save_split(model, path) if split else write_atomically(path, _bytes(to_proto(model)))
    except UsageError as error:
        raise ModelError(str(error)) from error


def check(model: ir.Model) -> None:
    """Hold the model against the ONNX specification, with types and shapes.

    Raises:
        ModelError: what :mod:`onnx.checker` finds first.
    """
    if fits_one_message(model):
        return _check(to_proto(model))
    with tempfile.TemporaryDirectory(prefix="onnxq-") as folder:
        path = Path(folder) / "model.onnx"
        save(model, path, external=True)
        return _check(str(path))


def _check(subject: onnx.ModelProto | str) -> None:
    try:
        onnx.checker.check_model(subject, full_check=True)
    except Exception as error:  # ValidationError, InferenceError and plain ValueError
        raise ModelError(f"the model is not valid ONNX: {' '.join(str(error).split())}") from error


def sha256_of(path: Path) -> str:
    """The hash of a model file and, in the order of their names, of its external data files.

    Raises:
        ModelError: as for :func:`load`.
    """
    content = _read(path)
    parse(content, path.parent)
    proto = onnx.ModelProto.FromString(content)
    total = hashlib.sha256(content)
    for location in sorted({slot.location for slot in tensor_slots(ir.from_proto(proto)) if slot.location}):
        with open(contained(path.parent, location), "rb") as file:
            total.update(f"\0{location}\0".encode())
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def fits_one_message(model: ir.Model) -> bool:
    """Whether all weights fit into one protobuf message, with room for the rest."""
    return sum(slot.tensor.nbytes for slot in tensor_slots(model)) < _MESSAGE_LIMIT - _MARGIN


def _save_split(model: ir.Model, path: Path) -> None:
    data_path = path.with_name(f"{path.name}.data")
    embed_external(model)
    with replacing(data_path, path) as (data, file):
        with written_out(model, data, data_path.name):
            content = _bytes(_serialized(model))
        file.write(content)


def _read(path: Path) -> bytes:
    if not path.exists():
        raise ModelError("there is no such file")
    if not path.is_file():
        raise ModelError("it is no regular file")
    if path.stat().st_size > _MESSAGE_LIMIT:
        raise ModelError("an ONNX file cannot exceed 2 GB; store its weights as external data")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{error.strerror}") from error
    if not content:
        raise ModelError("the file is empty")
    return content


def _free_initializers(model: ir.Model) -> None:
    graph = model.graph
    kept = [value for value in graph.inputs if value.name not in graph.initializers]
    graph.inputs.clear()
    graph.inputs.extend(kept)
    model.ir_version = 4


def _serialized(model: ir.Model) -> onnx.ModelProto:
    try:
        return ir.to_proto(model)
    except Exception as error:  # whatever a broken graph makes onnx-ir stumble over
        raise ModelError(f"the model cannot be serialized: {_root_cause(error)}") from error


def _bytes(proto: onnx.ModelProto) -> bytes:
    try:
        return proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise ModelError("the model exceeds 2 GB even without its initializers") from error


def _root_cause(error: BaseException) -> str:
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return " ".join(str(error).split()) or type(error).__name__
