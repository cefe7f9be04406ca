"""ONNX Runtime sessions that behave the same everywhere: quiet, deterministic, one clear line on failure.

    session = Session(model, optimize=False, extra_outputs=["conv1_out"])
    y = session.run({"x": x})["conv1_out"]

Any model in memory or on disk is taken. One that does not fit into a single protobuf message (2 GB) goes
through a temporary file, which is gone when the session is open.
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from google.protobuf.message import EncodeError

from onnxq import model_io
from onnxq.errors import DataError, ModelError
from onnxq.graph.numeric import Array

__all__ = ["ModelLike", "Port", "Session"]

ModelLike: TypeAlias = ir.Model | onnx.ModelProto | Path | str | bytes

_FATAL = 4  # what ONNX Runtime logs as an error it also raises; below this it would print it a second time
_ADVICE = (
    (r"not a registered function/op", "inline or lower that operator, or load the library that brings it"),
    (
        r"Could not find an implementation|NOT_IMPLEMENTED",
        "the provider has no kernel for that operator and type; for operators before opset 7 it needs the "
        "pass raise-opset",
    ),
    (
        r"under development|[Uu]nsupported model IR version|opset \d+ is",
        "convert the model to an older opset, or update onnxruntime",
    ),
    (r"No opset import for domain", "its operators come from a library: import or lower them first"),
    (r"does not exist in the graph", "ask for a value that a node of the main graph makes"),
    (r"protobuf parsing failed|INVALID_PROTOBUF", "check that the file is an ONNX model and complete"),
)


@dataclass(frozen=True)
class Port:
    """One input or output of a session.

    ``dtype`` is ``object`` for strings and for anything that is no tensor; in ``shape`` a number is a fixed
    axis, a text a named one, and None an axis that nothing is known about.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | str | None, ...]


class Session:
    """A model that is ready to run.

    Args:
        model: a model in memory, its bytes, or the path of its file.
        optimize: let ONNX Runtime fuse and fold; False computes the graph exactly as it is written.
        threads: threads within one operator; None leaves the number to ONNX Runtime.
        providers: execution providers, the preferred one first.
        extra_outputs: names of values of the main graph that become outputs too, behind the model's own.

    Raises:
        ModelError: the model cannot be loaded, or a provider or a value of ``extra_outputs`` does not exist.
    """

    def __init__(
        self,
        model: ModelLike,
        *,
        optimize: bool = True,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        extra_outputs: Sequence[str] = (),
    ) -> None:
        self._title = f"'{model}'" if isinstance(model, (str, Path)) else "the model"
        _check_providers(providers)
        options = _options(optimize, threads)
        with ExitStack() as files:
            source = _loadable(model, extra_outputs, files)
            try:
                self._session = ort.InferenceSession(source, options, providers=list(providers))
            except Exception as error:  # ONNX Runtime's exceptions share no base of their own
                raise ModelError(f"ONNX Runtime cannot load {self._title}: {_reason(error)}") from error
        self.inputs = tuple(_port(argument) for argument in self._session.get_inputs())
        self.outputs = tuple(_port(argument) for argument in self._session.get_outputs())
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Compute ``outputs`` (all of them by default) from one array per input.

        Raises:
            DataError: an array is missing, not asked for, or of another dtype or shape than its input.
            ModelError: an output does not exist, or a node fails.
        """
        self._check(feeds)
        known = [port.name for port in self.outputs]
        wanted = known if outputs is None else list(outputs)
        if missing := [name for name in wanted if name not in known]:
            raise ModelError(f"{self._title} has no output {missing[0]!r}; it has {', '.join(known)}")
        if not wanted:
            return {}
        try:
            arrays = self._session.run(wanted, dict(feeds))
        except Exception as error:  # as above
            raise ModelError(f"ONNX Runtime cannot run {self._title}: {_reason(error)}") from error
        return dict(zip(wanted, arrays, strict=True))

    def _check(self, feeds: Mapping[str, Array]) -> None:
        ports = {port.name: port for port in self.inputs}
        if missing := [name for name in ports if name not in feeds]:
            raise DataError(f"input {missing[0]!r} has no array; given: {', '.join(feeds) or 'none'}")
        optional = {argument.name for argument in self._session.get_overridable_initializers()}
        if unknown := [name for name in feeds if name not in ports and name not in optional]:
            raise DataError(f"{self._title} has no input {unknown[0]!r}; its inputs are {', '.join(ports)}")
        for name, port in ports.items():
            _check_fit(port, feeds[name])


def _check_fit(port: Port, array: Array) -> None:
    if port.dtype == object:
        return
    fits = len(array.shape) == len(port.shape) and all(
        not isinstance(want, int) or want == have for want, have in zip(port.shape, array.shape, strict=False)
    )
    if array.dtype == port.dtype and fits:
        return
    raise DataError(
        f"input {port.name!r} takes {port.dtype}{_text(port.shape)}, but the array is "
        f"{array.dtype}{_text(array.shape)}"
    )


def _text(shape: Sequence[int | str | None]) -> str:
    return f"[{','.join('?' if axis is None else str(axis) for axis in shape)}]"


def _options(optimize: bool, threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.use_deterministic_compute = True
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    return options


def _check_providers(providers: Sequence[str]) -> None:
    available = ort.get_available_providers()
    if unknown := [name for name in providers if name not in available]:
        raise ModelError(
            f"ONNX Runtime has no execution provider {unknown[0]!r} here; it has {', '.join(available)}"
        )


def _loadable(model: ModelLike, extra_outputs: Sequence[str], files: ExitStack) -> str | bytes:
    """What InferenceSession takes: the bytes of a model, or the path of a file, maybe one of ``files``."""
    if isinstance(model, (str, Path)):
        loaded = model_io.load(Path(model))  # older versions of ONNX Runtime follow external data anywhere
        if not extra_outputs:
            return str(model)
        model = loaded
    if isinstance(model, bytes):
        if not extra_outputs:
            return model
        model = model_io.parse(model)
    if isinstance(model, onnx.ModelProto):
        return _bytes(_tapped(model, extra_outputs))
    if not model_io.fits_one_message(model):
        return _through_file(model, extra_outputs, files)
    return _bytes(_tapped(model_io.to_proto(model), extra_outputs))


def _bytes(proto: onnx.ModelProto) -> bytes:
    try:
        return proto.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise ModelError("the model exceeds 2 GB as one message; make it an ir.Model or a file") from error


def _through_file(model: ir.Model, extra_outputs: Sequence[str], files: ExitStack) -> str:
    path = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="onnxq-"))) / "model.onnx"
    model_io.save(model, path, external=True)
    if extra_outputs:
        proto = onnx.load(path, load_external_data=False)
        path.write_bytes(_tapped(proto, extra_outputs).SerializeToString())
    return str(path)


def _tapped(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with more outputs. They carry a name only: ONNX Runtime infers their types itself."""
    present = {output.name for output in proto.graph.output}
    new = [name for name in dict.fromkeys(names) if name not in present]
    if not new:
        return proto
    tapped = onnx.ModelProto()
    tapped.CopyFrom(proto)
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in new)
    return tapped


def _port(argument: ort.NodeArg) -> Port:
    kind = re.fullmatch(r"tensor\((\w+)\)", argument.type)
    return Port(argument.name, _dtype(kind[1]) if kind else np.dtype(object), tuple(argument.shape))


def _dtype(name: str) -> np.dtype[np.generic]:
    if name == "string":
        return np.dtype(object)
    return np.dtype(ir.DataType[name.upper()].numpy())


def _reason(error: Exception) -> str:
    """ONNX Runtime's message in one line, without codes and source positions, and what to do about it."""
    text = " ".join(str(error).split())
    advice = next((tip for pattern, tip in _ADVICE if re.search(pattern, text)), None)
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"\S*onnxruntime_src\S*\.(cc|h):\d+ .*?\)( const)? ", "", text)
    text = re.sub(r"Load model from \S* failed: ?", "", text).strip().rstrip(".")
    return f"{text}; {advice}" if advice else text
