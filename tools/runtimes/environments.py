"""The runtimes that are tried: what pip calls them, which program runs a model there, what they promise.

A runtime that is installed beside onnxq is used as it is; the others get an environment each, made with pip.
"""

import re
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from onnxq.graph.numeric import Array

__all__ = ["RUNTIMES", "Failed", "Runtime", "interpreter", "run"]

HERE = Path(__file__).parent
SECONDS = 900
"""How long a runtime may take to compile and run one model."""


class Failed(Exception):
    """A runtime could not run a model; the message is the line of its own that says most."""


@dataclass(frozen=True)
class Runtime:
    """A runtime, and which forms of a model it must run; ``target`` is the one that Q/DQ is made for."""

    name: str
    requirements: tuple[str, ...]
    runner: str
    forms: tuple[str, ...]
    target: str = "generic-int8"
    lacks: frozenset[str] = frozenset()


def _extra(*packages: str) -> tuple[str, ...]:
    """What the extra ``runtimes`` of this project says of packages."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {_name(text): text for text in project["optional-dependencies"]["runtimes"]}
    return tuple(named[package] for package in packages)


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=~!; ]", requirement, maxsplit=1)[0]


def _older(version: str, numpy: str) -> Runtime:
    name = f"onnxruntime-{version}"
    return Runtime(name, (f"onnxruntime=={version}", numpy), "run_onnxruntime.py", ("portable",))


STRICT = ("int32", "int24")
RUNTIMES = (
    Runtime("onnxruntime", ("onnxruntime", "numpy"), "run_onnxruntime.py", ("qdq", "portable", *STRICT)),
    Runtime("reference", ("onnx", "numpy"), "run_reference.py", ("portable", *STRICT)),
    _older("1.17.3", "numpy<2"),
    _older("1.20.1", "numpy<2"),
    _older("1.23.2", "numpy<3"),
    Runtime("openvino", _extra("openvino"), "run_openvino.py", ("qdq", "int24"), "openvino"),
    Runtime("iree", _extra("iree-base-compiler", "iree-base-runtime"), "run_iree.py", ("qdq", *STRICT)),
    Runtime(
        "tvm",
        (*_extra("apache-tvm"), "onnx"),
        "run_tvm.py",
        ("qdq", *STRICT),
        lacks=frozenset({"ConvInteger"}),
    ),
)


def interpreter(runtime: Runtime, folder: Path) -> Path:
    """The Python that has a runtime: this one, or that of an environment in ``folder``, made if absent."""
    if all(_installed(requirement) for requirement in runtime.requirements):
        return Path(sys.executable)
    home = folder / runtime.name
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "-q", "install", *runtime.requirements], check=True)
    return python


def _installed(requirement: str) -> bool:
    try:
        version = metadata.version(_name(requirement))
    except metadata.PackageNotFoundError:
        return False
    _, pinned, wanted = requirement.partition("==")
    return not pinned or version == wanted


def run(runtime: Runtime, python: Path, model: Path, inputs: Path, outputs: Path) -> tuple[list[Array], str]:
    """The outputs of a model for each sample of ``inputs``, stacked, and what the runner says of kernels.

    Raises:
        Failed: the runtime refuses the model, or takes too long.
    """
    command = [python, HERE / runtime.runner, model, inputs, outputs]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"not done after {SECONDS} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [
            f"exit code {done.returncode}"
        ]
        said = next((line for line in lines if re.search(r"[Ee]rror: ", line)), lines[-1])
        raise Failed(said.strip())
    kernels = re.search(r"integer=(\S+)", done.stdout)
    return [np.asarray(array) for array in np.load(outputs).values()], kernels[1] if kernels else "-"
