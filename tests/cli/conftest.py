"""Fixtures of the command line's tests: ``onnxq`` runs one, ``small`` is a folder with a model and data."""

from pathlib import Path

import numpy as np
import pytest

from onnxq.cli.main import main

from .helpers import CONV, Done, Run, weights, write_model


@pytest.fixture
def onnxq(capsys: pytest.CaptureFixture[str]) -> Run:
    """``onnxq("plan", path)``: exit code, stdout and stderr of that command."""

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with ``model.onnx`` (x [N,2,6,6] → Conv, Sin, Relu, Flatten) and three samples in ``data``."""
    write_model(tmp_path / "model.onnx", CONV, W=weights(4, 2, 3, 3), b=weights(4))
    (tmp_path / "data").mkdir()
    for i in range(3):
        np.save(tmp_path / "data" / f"{i}.npy", weights(1, 2, 6, 6, seed=i))
    return tmp_path
