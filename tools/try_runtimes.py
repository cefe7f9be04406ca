"""Run integer models in other runtimes and older versions, each in its own environment; compare bits.

    python tools/try_runtimes.py [MODEL.onnx …] [--venvs FOLDER] [--only onnxruntime-1.17.3 openvino]

Without models: the embedded networks of digits, quantized here and lowered in the dialect that each runtime
is promised, with real images as inputs; given models are run as they are, on random codes. What counts is
equality with the installed ONNX Runtime, all optimisations off, bit for bit. Missing environments are made
with pip, which takes a network. Exit code 1 if anything differs or fails.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.shape_inference

import onnxq
from onnxq import model_io
from onnxq.data.codes import convert, read_codes
from onnxq.errors import OnnxqError
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

ROOT = Path(__file__).resolve().parents[1]
RUNNERS = Path(__file__).with_name("runtimes")
DIGITS = ROOT / "models" / "digits"
IMAGES = 32


def _lowering(options: str) -> str:
    dialect = options.split()[0]
    return f"fuse, choose-integer-types{{{dialect}}}, lower-integer{{{options}}}, finish"


PIPELINES = {
    "portable": _lowering("dialect=portable"),
    "int32": _lowering("dialect=int32"),
    "int24": _lowering("dialect=int32 max_accumulator_bits=24"),
}


@dataclass(frozen=True)
class Runtime:
    """What pip installs, which program runs a model there, and which lowerings it must run."""

    name: str
    requirements: tuple[str, ...]
    runner: str
    pipelines: tuple[str, ...]


def _onnxruntime(version: str, numpy: str) -> Runtime:
    requirements = (f"onnxruntime=={version}", numpy)
    return Runtime(f"onnxruntime-{version}", requirements, "run_onnxruntime.py", ("portable",))


RUNTIMES = (
    _onnxruntime("1.17.3", "numpy<2"),
    _onnxruntime("1.20.1", "numpy<2"),
    _onnxruntime("1.23.2", "numpy<3"),
    Runtime("openvino", ("openvino==2026.4.1",), "run_openvino.py", ("int24",)),
    Runtime(
        "iree",
        ("iree-base-compiler[onnx]==3.13.0", "iree-base-runtime==3.13.0"),
        "run_iree.py",
        ("int32", "int24"),
    ),
    # no ConvInteger, so none of the embedded networks
    Runtime("tvm", ("apache-tvm", "onnx", "numpy"), "run_tvm.py", ()),
)


@dataclass(frozen=True)
class Trial:
    """A model, what goes in and what must come out; ``pipeline`` is empty for models as given."""

    model: Path
    pipeline: str
    inputs: Path
    expected: list[Array]


def python_of(runtime: Runtime, folder: Path) -> Path:
    """The interpreter of a runtime's environment, which is made if it is not there."""
    home = folder / runtime.name
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "-q", "install", *runtime.requirements], check=True)
    return python


def embedded(folder: Path) -> Iterator[tuple[Path, str]]:
    """The embedded networks, lowered in each way that knows how, for batches of fixed size."""
    for source in sorted((ROOT / "models").glob("*.onnx")):
        qdq = onnxq.quantize(source, DIGITS / "calibration.npy", target="integer", form="qdq", proof=0)
        for name, text in PIPELINES.items():
            try:
                made = run_pipeline(qdq.model.clone(), parse(text), Context())
            except OnnxqError as error:
                reason = next((line for line in str(error).splitlines()[1:]), str(error))
                print(f"{source.stem}: {name} refuses: {reason.strip()[:140]}")
                continue
            path = folder / f"{source.stem}.{name}.onnx"
            onnx.save(of_fixed_batch(model_io.to_proto(made.model)), path)
            yield path, name


def of_fixed_batch(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model for as many images as are tried, all shapes known: some runtimes demand that."""
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = IMAGES
    del proto.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)


def trial(model: Path, pipeline: str, folder: Path) -> Trial:
    """Real images for embedded models, random codes for others; outputs of the installed ONNX Runtime."""
    session, rng = Session(model, optimize=False, threads=1), np.random.default_rng(0)
    feeds: dict[str, Array] = {}
    for port in session.inputs:
        shape = [dim if isinstance(dim, int) else 1 for dim in port.shape or ()]
        if pipeline:
            images = np.load(DIGITS / "test.npy")[:IMAGES]
            feeds[port.name] = convert(images, port.dtype, read_codes(session.metadata, port.name), port.name)
        else:
            low, high = {"int8": (-128, 127), "uint8": (0, 255)}.get(port.dtype.name, (0, 1))
            feeds[port.name] = rng.integers(low, high, shape, endpoint=True).astype(port.dtype)
    inputs = folder / f"{model.stem}.npz"
    np.savez(inputs, **feeds)  # type: ignore[arg-type]
    return Trial(model, pipeline, inputs, list(session.run(feeds).values()))


def verdict(runtime: Runtime, python: Path, given: Trial, folder: Path) -> str:
    """``equal``, or what is wrong."""
    outputs = folder / f"{given.model.stem}.{runtime.name}.npz"
    command = [python, RUNNERS / runtime.runner, given.model, given.inputs, outputs]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        return f"fails: {next((line for line in lines if 'rror' in line), lines[-1])[:160]}"
    found = list(np.load(outputs).values())
    pairs = zip(found, given.expected, strict=True)  # IREE gives bytes without a sign
    apart = [np.abs(a.view(b.dtype).astype(np.int64) - b.astype(np.int64)) for a, b in pairs]
    if not any(array.any() for array in apart):
        return "equal"
    share = 100 * np.mean([np.mean(array == 0) for array in apart])
    return f"DIFFERS: {share:.2f} % of codes equal, {max(int(a.max()) for a in apart)} apart"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare integer models bit for bit across runtimes.")
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--venvs", type=Path, default=ROOT / "build" / "runtimes")
    parser.add_argument("--only", nargs="*", default=[runtime.name for runtime in RUNTIMES])
    args = parser.parse_args(arguments)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = [(path, "") for path in args.models] or list(embedded(folder))
        trials = [trial(path, pipeline, folder) for path, pipeline in chosen]
        for runtime in (runtime for runtime in RUNTIMES if runtime.name in args.only):
            python = python_of(runtime, args.venvs)
            for given in trials:
                if given.pipeline and given.pipeline not in runtime.pipelines:
                    continue
                found = verdict(runtime, python, given, folder)
                wrong += found != "equal"
                print(f"{runtime.name:20} {given.model.stem:36} {found}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
