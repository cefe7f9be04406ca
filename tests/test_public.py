"""What other people's code relies on: the names of the package, its type marker, its weight, its command."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import onnxq
from onnxq.cli.main import main

HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "onnxsim", "rich", "typer", "PIL")


@pytest.mark.parametrize("name", onnxq.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(onnxq, name) is not None
    assert name in dir(onnxq)


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        onnxq.quantise  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, onnxq; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_types_are_for_others_too() -> None:
    assert (Path(onnxq.__file__).parent / "py.typed").is_file()


def test_the_command_is_installed() -> None:
    (point,) = entry_points(group="console_scripts", name="onnxq")
    assert point.load() is main


def test_models_are_read_and_written_by_paths_of_both_kinds(tmp_path: Path) -> None:
    file = Path(__file__).parents[1] / "models" / "digits_cnn.onnx"
    onnxq.save(onnxq.load(str(file)), str(tmp_path / "a.onnx"))
    onnxq.save(onnxq.load(file), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
