"""Two independent integer computations of one trained model: ONNX Runtime's kernels and strict integers."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from onnxq import model_io
from onnxq.data.codes import read_codes
from onnxq.graph.numeric import Array, FloatArray
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.quant.operators import LINEAR
from onnxq.runtime import Session

MODELS = Path(__file__).resolve().parents[3] / "models"
FOLDED = "prepare, fold-fake-quant"


def compute(path: Path, lowering: str, samples: list[dict[str, Array]]) -> list[FloatArray]:
    """The first output of the lowered model for every sample, in real numbers."""
    model = run_pipeline(model_io.load(path), parse(f"{FOLDED}, {lowering}"), Context()).model
    assert not any(node.op_type in LINEAR for node in model.graph), "every product is one of integers"
    session = Session(model, optimize=False, threads=1)
    output = read_codes(session.metadata, session.outputs[0].name)
    found = []
    for sample in samples:
        feeds = dict(sample)
        for port in session.inputs:
            if (codes := read_codes(session.metadata, port.name)) is not None:
                feeds[port.name] = codes.quantize(sample[port.name], port.dtype)
        y = session.run(feeds)[session.outputs[0].name]
        found.append(y.astype(np.float64) if output is None else output.dequantize(y))
    return found


def equal(path: Path, samples: list[dict[str, Array]]) -> float:
    pairs = zip(compute(path, "qoperator", samples), compute(path, "lower", samples), strict=True)
    return float(np.mean([np.mean(np.isclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())) for a, b in pairs]))


def test_the_embedded_model() -> None:
    images = np.load(MODELS / "digits" / "test.npy")
    assert equal(MODELS / "digits_cnn_qat.onnx", [{"image": images}]) >= 0.999


@pytest.mark.parametrize("name", ["kws_dscnn", "resnet8_cifar10"])
def test_published_models(zoo: ModuleType, name: str) -> None:
    """Both are exact, so they agree where the float computation of the same file does not."""
    entry = zoo.load(name)
    assert equal(Path(entry.qat_models[0]), list(entry.calibration(20, seed=1))) >= 0.999
