"""onnxq golden on the trained digit classifier."""

import json
from pathlib import Path

from .helpers import MODELS, Run


def test_a_classifier_and_its_complaints(onnxq: Run, tmp_path: Path) -> None:
    model, data = tmp_path / "int.onnx", ("--data", MODELS / "digits" / "calibration.npy")
    done = onnxq(
        "quantize", MODELS / "digits_cnn.onnx", *data, "--limit", 8, "--target", "integer", "-o", model
    )
    assert done.code == 0, done.err
    done = onnxq("golden", model, *data, "-o", tmp_path / "golden", "--limit", 1)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("1 sample of ")
    index = json.loads((tmp_path / "golden" / "index.json").read_bytes())
    assert {entry["role"] for entry in index["tensors"]} == {"input", "intermediate", "output"}
    done = onnxq("golden", model, *data, "-o", tmp_path / "golden")
    assert (done.code, "is there already" in done.err) == (2, True)
    done = onnxq("golden", model, *data, "-o", tmp_path / "more", "--max-size", "20k")
    assert (done.code, "more than 20,000 bytes" in done.err) == (2, True)
    done = onnxq("golden", MODELS / "digits_cnn.onnx", *data, "-o", tmp_path / "more")
    assert (done.code, "integer-only models" in done.err) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["golden", "int.onnx"]
