"""Golden vectors of an integer model: what every tensor holds on a few samples, for who builds hardware.

    write_golden("model.int.onnx", "data/", Path("golden"), limit=4)

The folder appears whole or not at all, and the same model and samples give the same bytes. docs/golden.md
says what is in it.
"""

import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxq import model_io
from onnxq.data.codes import convert, read_codes
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import InputSpec, Sample, Samples, input_specs
from onnxq.data.source import Source, open_samples
from onnxq.errors import CheckError, DataError, UsageError
from onnxq.evaluate.c_constants import Constant, c_header, identifiers
from onnxq.evaluate.integer_only import float_tensors
from onnxq.files import check_file
from onnxq.graph.match import consumers
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import describe
from onnxq.runtime import Session
from onnxq.words import plural

__all__ = ["LARGEST_CONSTANT", "MOST_BYTES", "SAMPLES", "Golden", "write_golden"]

FORMAT = 1
SAMPLES = 4
MOST_BYTES = 10**9
LARGEST_CONSTANT = 4096
"""Elements of a constant that goes into the C header unless weights are asked for."""


@dataclass(frozen=True)
class Golden:
    """What :func:`write_golden` wrote."""

    samples: int
    tensors: int
    constants: int
    size: int
    """Bytes of all arrays and of the C header."""


def write_golden(
    model: ir.Model | Path | str,
    data: Source,
    folder: Path,
    *,
    limit: int = SAMPLES,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    weights: bool = False,
    most_bytes: int = MOST_BYTES,
) -> Golden:
    """Run an integer model on the first ``limit`` samples and write every tensor of it into a new folder.

    Samples hold codes, or real numbers where the model's metadata says how they become codes. Tensors inside
    the bodies of If and Loop are not written. ``weights`` puts constants of any size into the C header.

    Raises:
        CheckError: something in the model is float; lower it first.
        DataError: a sample does not fit.
        ModelError: the model cannot run.
        UsageError: the folder is there already, or the arrays would need more than ``most_bytes``.
    """
    if folder.exists():
        raise UsageError(f"'{folder}' is there already: remove it, or give another name")
    check_file(folder)
    loaded = model if isinstance(model, ir.Model) else model_io.load(Path(model))
    _check_integers(loaded)
    run = _Run(loaded, most_bytes)
    specs = [run.spec(spec) for spec in input_specs(loaded)]
    samples = open_samples(data, specs, preprocessing=preprocessing, limit=limit, seed=seed)
    made = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    digest = None if isinstance(model, ir.Model) else model_io.sha256_of(Path(model))
    try:
        made.mkdir()
        written = _write(run, samples, made, digest, weights=weights)
        os.replace(made, folder)
    except OSError as error:
        raise UsageError(
            f"cannot write '{folder}': {error.strerror or error}; nothing was changed"
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return written


def _check_integers(model: ir.Model) -> None:
    if not (found := float_tensors(model)):
        return
    first, floats = found[0], plural(len(found), "tensor")
    raise CheckError(
        f"golden vectors are of integer-only models, but {floats} here are float, such as "
        f"'{first.name}' ({first.reason}): make the integer form first, with --target integer"
    )


@dataclass
class _Tensor:
    """A value of the main graph and its file; axes of ``shape`` that differ between samples are None."""

    value: ir.Value
    role: str
    file: str
    shape: list[int | None] | None = None

    def see(self, array: Array) -> None:
        """Note the shape that it has in one sample."""
        if self.shape is None:
            self.shape = list(array.shape)
        self.shape = [a if a == b else None for a, b in zip(self.shape, array.shape, strict=True)]


class _Run:
    """The model with all its tensors as outputs, and a budget of bytes."""

    def __init__(self, model: ir.Model, most_bytes: int) -> None:
        self.model, self.left, self.most = model, most_bytes, most_bytes
        graph = model.graph
        inputs = [value for value in graph.inputs if value.name not in graph.initializers]
        made = [value for node in graph for value in node.outputs if value.name]
        values = [value for value in (*inputs, *made) if isinstance(value.type, ir.TensorType)]
        self.reserve(sum(map(_least_bytes, values)), "one sample")
        self.left = most_bytes
        names = identifiers(value.name or "" for value in values)
        self.tensors = {
            value.name or "": _Tensor(value, _role(value), f"{i:04}_{names[value.name or '']}.npy")
            for i, value in enumerate(values)
        }
        self.session = Session(
            model, optimize=False, threads=1, extra_outputs=[value.name or "" for value in made]
        )
        self.codes = {port.name: read_codes(self.session.metadata, port.name) for port in self.session.inputs}

    def reserve(self, size: int, what: str) -> None:
        """Take from the budget.

        Raises:
            UsageError: there is not so much left.
        """
        self.left -= size
        if self.left < 0:
            raise UsageError(
                f"golden vectors would need more than {self.most:,} bytes ({what} went beyond): give fewer "
                "samples with --limit, or allow more with --max-size"
            )

    def spec(self, spec: InputSpec) -> InputSpec:
        """What samples hold for an input: real numbers where these become codes."""
        real = self.codes.get(spec.name) is not None
        return replace(spec, dtype=np.dtype(np.float32)) if real else spec

    def arrays(self, sample: Sample) -> dict[str, Array]:
        """All tensors of one sample.

        Raises:
            DataError: it does not fit the model.
        """
        feeds = {}
        for port in self.session.inputs:
            if port.name not in sample.feeds:
                raise DataError(f"sample '{sample.name}' has no input '{port.name}'")
            array, where = np.asarray(sample.feeds[port.name]), f"sample '{sample.name}': '{port.name}'"
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(f"{where} holds NaN or infinity: repair or remove that sample")
            feeds[port.name] = convert(array, port.dtype, self.codes[port.name], where)
        wanted = [port.name for port in self.session.outputs if port.name in self.tensors]
        results = self.session.run(feeds, wanted)
        return {name: (feeds | results)[name] for name in self.tensors}


def _role(value: ir.Value) -> str:
    if value.is_graph_input():
        return "input"
    return "output" if value.is_graph_output() else "intermediate"


def _least_bytes(value: ir.Value) -> int:
    """Bytes of a value, open axes counted as 1."""
    dims = [dim if isinstance(dim, int) else 1 for dim in value.shape or ()]
    return math.prod(dims) * (1 if value.dtype is None else max(int(value.dtype.itemsize), 1))


def _write(run: _Run, samples: Samples, folder: Path, digest: str | None, *, weights: bool) -> Golden:
    constants = list(_constants(run.model))
    names = identifiers(constant.name for constant in constants)
    (folder / "constants").mkdir()
    files = {c.name: f"constants/{i:04}_{names[c.name]}.npy" for i, c in enumerate(constants)}
    for constant in constants:
        _save(run, folder / files[constant.name], constant.array, "constants")
    places: list[dict[str, object]] = []
    for i, sample in enumerate(samples):
        place = f"samples/{i:04}"
        (folder / place).mkdir(parents=True)
        for name, array in run.arrays(sample).items():
            run.tensors[name].see(array)
            _save(run, folder / place / run.tensors[name].file, array, f"sample {i + 1}")
        places.append({"name": Path(sample.name).name, "folder": place})
    if not places:
        raise DataError("no samples found: the source is empty")
    largest = max((c.array.size for c in constants), default=0) if weights else LARGEST_CONSTANT
    in_header = {c.name: names[c.name] for c in constants if 0 < c.array.size <= largest}
    index = {
        "format": FORMAT,
        "model": {"sha256": digest, "graph": run.model.graph.name, "opsets": dict(run.model.opset_imports)},
        "samples": places,
        "tensors": [_entry(tensor, run.session.metadata) for tensor in run.tensors.values()],
        "constants": [_constant_entry(c, files[c.name], in_header.get(c.name)) for c in constants],
    }
    (folder / "index.json").write_bytes(f"{json.dumps(index, indent=1)}\n".encode())
    header = c_header(constants, names, largest).encode()
    run.reserve(len(header), "constants.h")
    (folder / "constants.h").write_bytes(header)
    return Golden(len(places), len(run.tensors), len(constants), run.most - run.left)


def _save(run: _Run, path: Path, array: Array, what: str) -> None:
    run.reserve(array.nbytes, what)
    np.save(path, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)


def _constants(model: ir.Model) -> Iterator[Constant]:
    """Initializers of the main graph that some node reads, in the order of their first readers."""
    order = {node: i for i, node in enumerate(model.graph)}
    found = []
    for value in model.graph.initializers.values():
        readers = [node for node in consumers(value) if node in order]
        if readers and value.const_value is not None:
            first = min(readers, key=order.__getitem__)
            found.append(
                (order[first], Constant(value.name or "", value.const_value.numpy(), describe(first)))
            )
    yield from (constant for _, constant in sorted(found, key=lambda pair: (pair[0], pair[1].name)))


def _entry(tensor: _Tensor, metadata: Mapping[str, str]) -> dict[str, object]:
    value, node = tensor.value, tensor.value.producer()
    own = {f"{key}.{value.name}": entry for key, entry in value.metadata_props.items()}
    codes = read_codes({**own, **metadata}, value.name or "")
    known = {} if codes is None else {"scale": codes.scale, "zero_point": codes.zero_point}
    return {
        "tensor": value.name,
        "role": tensor.role,
        "op": None if node is None else node.op_type,
        "node": None if node is None else node.name,
        "dtype": None if value.dtype is None else str(value.dtype.numpy()),
        "shape": tensor.shape,
        **known,
        "file": tensor.file,
    }


def _constant_entry(constant: Constant, file: str, name: str | None) -> dict[str, object]:
    return {
        "tensor": constant.name,
        "reader": constant.reader,
        "dtype": str(constant.array.dtype),
        "shape": list(constant.array.shape),
        "file": file,
        "c": name,
    }
