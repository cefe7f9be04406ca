"""O1, O2 and O3 of SmoothQuant through the command line, on the trained transformer of the repository."""

import json
from pathlib import Path

import onnx
import pytest

from .helpers import MODELS, Run

VIT, DIGITS = MODELS / "digits_vit.onnx", MODELS / "digits"
DATA = ("--data", DIGITS / "calibration.npy", "--limit", "32")


@pytest.mark.parametrize(
    ("level", "integers", "decibels"), [("O1", 19, 42), ("O2", 19, 42), ("O3", 19, 35), ("O3 int16", 19, 35)]
)
def test_products_become_integers_and_the_rest_keeps_the_signal(
    level: str, integers: int, decibels: float, onnxq: Run, tmp_path: Path
) -> None:
    name, _, others = level.partition(" ")
    made, report = tmp_path / "made.onnx", tmp_path / "report.json"
    more = ("--options", f"others={others}") if others else ()
    done = onnxq("quantize", VIT, "-o", made, *DATA, "--smooth", name, "--report", report, *more)
    assert done.code == 0, done.err
    onnx.checker.check_model(made, full_check=True)
    nodes = json.loads(report.read_text())["plan"]["nodes"]
    products = [n for n in nodes if n["op"] in ("MatMul", "Gemm") and n["quantized"]]
    assert len(products) == integers + (6 if name == "O3" else 0), "Q·Kᵀ and P·V too, where ranges are known"
    found = onnxq("compare", VIT, made, "--data", DIGITS / "test.npy", "--limit", "128", "--json")
    assert json.loads(found.out)["outputs"][0]["sqnr_db"] > decibels


def test_strict_integers_have_16_bits_where_the_rest_stays_float(onnxq: Run, tmp_path: Path) -> None:
    made = tmp_path / "made.onnx"
    done = onnxq("quantize", VIT, "-o", made, *DATA, "--smooth", "O3", "--target", "integer")
    assert done.code == 0, done.err
    assert onnxq("verify", "--integer-only", made).code == 0
    found = onnxq("compare", VIT, made, "--data", DIGITS / "test.npy", "--limit", "128", "--json")
    assert json.loads(found.out)["outputs"][0]["sqnr_db"] > 35
    narrow = ("--target", "tensorrt", "--form", "integer")
    done = onnxq("quantize", VIT, "-o", made, *DATA, "--smooth", "O3", *narrow)
    assert (done.code, "nothing may be: target tensorrt has none" in done.err) == (2, True)


def test_the_preset_is_what_quantize_runs(onnxq: Run, tmp_path: Path) -> None:
    files = tmp_path / "a.onnx", tmp_path / "b.onnx"
    assert onnxq("quantize", VIT, "-o", files[0], *DATA, "--smooth", "O2", "--proof", "0").code == 0
    assert onnxq("run", VIT, "-o", files[1], *DATA, "-p", "O2").code == 0
    graphs = [onnx.load(file).graph for file in files]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("more", [("--form", "integer"), ("--options", "symmetric=true"), ("--io", "int8")])
def test_what_run_time_scales_cannot_do_is_refused(more: tuple[str, str], onnxq: Run, tmp_path: Path) -> None:
    done = onnxq("quantize", VIT, "-o", tmp_path / "a.onnx", *DATA, "--smooth", "O1", *more)
    assert done.code == 2
    assert "at run time" in done.err
