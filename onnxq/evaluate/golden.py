"""Golden vectors of an integer model: what every tensor holds on a few samples, for who builds hardware.

    write_golden("model.int.onnx", "data/", Path("golden"), limit=4)

The folder appears whole or not at all, and the same model and samples give the same bytes. docs/golden.md
says what is in it.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxq import model_io
from onnxq.data.codes import read_codes
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import Samples, input_specs
from onnxq.data.source import Source, open_samples
from onnxq.errors import CheckError, DataError, UsageError
from onnxq.evaluate.c_constants import Constant, c_header, identifiers
from onnxq.evaluate.golden_run import Budget, GoldenRun, Tensor
from onnxq.evaluate.integer_only import float_tensors
from onnxq.files import check_file
from onnxq.graph.match import consumers
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import describe
from onnxq.words import plural

__all__ = ["Golden", "write_golden"]

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
    budget = Budget(most_bytes)
    run = GoldenRun(loaded, budget)
    specs = [run.spec(spec) for spec in input_specs(loaded)]
    samples = open_samples(data, specs, preprocessing=preprocessing, limit=limit, seed=seed)
    made = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    digest = None if isinstance(model, ir.Model) else model_io.sha256_of(Path(model))
    try:
        made.mkdir()
        written = _write(run, samples, _Folder(made, budget), digest, weights=weights)
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


@dataclass(frozen=True)
class _Folder:
    """Where the files go while they are written; what is written is taken from the budget."""

    path: Path
    budget: Budget

    def save(self, file: str, array: Array, what: str) -> None:
        self.budget.spend(array.nbytes, what)
        np.save(self.path / file, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)


def _write(run: GoldenRun, samples: Samples, folder: _Folder, digest: str | None, *, weights: bool) -> Golden:
    constants = list(_constants(run.model))
    names = identifiers(constant.name for constant in constants)
    files = {c.name: f"constants/{i:04}_{names[c.name]}.npy" for i, c in enumerate(constants)}
    (folder.path / "constants").mkdir()
    for constant in constants:
        folder.save(files[constant.name], constant.array, "constants")
    places = list(_write_samples(run, samples, folder))
    if not places:
        raise DataError("no samples found: the source is empty")
    largest = max((c.array.size for c in constants), default=0) if weights else LARGEST_CONSTANT
    in_header = {c.name: names[c.name] for c in constants if 0 < c.array.size <= largest}
    index = {
        "format": FORMAT,
        "model": {"sha256": digest, "graph": run.model.graph.name, "opsets": dict(run.model.opset_imports)},
        "samples": places,
        "tensors": [_tensor_entry(tensor, run.session.metadata) for tensor in run.tensors.values()],
        "constants": [_constant_entry(c, files[c.name], in_header.get(c.name)) for c in constants],
    }
    (folder.path / "index.json").write_bytes(f"{json.dumps(index, indent=1)}\n".encode())
    header = c_header(constants, names, largest).encode()
    folder.budget.spend(len(header), "constants.h")
    (folder.path / "constants.h").write_bytes(header)
    return Golden(len(places), len(run.tensors), len(constants), folder.budget.spent)


def _write_samples(run: GoldenRun, samples: Samples, folder: _Folder) -> Iterator[dict[str, str]]:
    """Write what every tensor holds on each sample; the samples' entries in the index."""
    for i, sample in enumerate(samples):
        place = f"samples/{i:04}"
        (folder.path / place).mkdir(parents=True)
        for name, array in run.arrays(sample).items():
            tensor = run.tensors[name]
            tensor.see(array)
            folder.save(f"{place}/{tensor.file}", array, f"sample {i + 1}")
        yield {"name": Path(sample.name).name, "folder": place}


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


def _tensor_entry(tensor: Tensor, metadata: Mapping[str, str]) -> dict[str, object]:
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
