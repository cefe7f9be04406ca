"""What the command line's tests share: models to run on, and what a run gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

from onnxq.graph.numeric import Array

MODELS = Path(__file__).resolve().parents[2] / "models"

HEAD = '<ir_version: 8, opset_import: ["": 17]>'
CONV = (
    HEAD
    + """ g (float[N,2,6,6] x) => (float[N,?] y) {
        c = Conv <kernel_shape = [3,3]> (x, W, b)
        e = Sin (c)
        r = Relu (e)
        y = Flatten (r)
    }"""
)


@dataclass(frozen=True)
class Done:
    """What a command line left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


def write_model(path: Path, text: str, **constants: Array) -> None:
    """Save the model that ONNX text describes, with these initializers."""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in constants.items())
    onnx.save(model, path)


def weights(*shape: int, seed: int = 0) -> Array:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
