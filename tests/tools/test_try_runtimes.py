"""The trial of other runtimes, with ONNX Runtime and small liars in their place."""

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnx
import pytest
import try_runtimes
from runtimes import environments
from runtimes.environments import RUNTIMES, Failed, Runtime, interpreter, run
from runtimes.qdq import codes_of, ended_at, last_codes, layers
from runtimes.trials import FORMS, Source, embedded, make

from onnxq.graph.numeric import Array
from onnxq.runtime import Session

TWO_LAYERS = """
    <ir_version: 9, opset_import: ["" : 19]>
    g (float[1,4] x) => (float[1,4] y)
      <float s = {0.1}, uint8 z = {128}, float[4,4] W = {1,2,0,1, 0,1,1,0, 2,0,1,1, 1,1,0,2},
       uint8[1,4] a, uint8[1,4] b> {
        a = QuantizeLinear (x, s, z)
        _a = DequantizeLinear (a, s, z)
        _m = MatMul (_a, W)
        b = QuantizeLinear (_m, s, z)
        _b = DequantizeLinear (b, s, z)
        y = Softmax (_b)
    }
"""
HALVED = """
    <ir_version: 9, opset_import: ["" : 19]>
    g (int8[1,4] x) => (int8[1,4] y) <int8 two = {2}> { y = Div (x, two) }
"""
BATCHED = """
    <ir_version: 9, opset_import: ["" : 19]>
    g (float[N,1,4,4] image) => (float[N,2,3,3] y)
      <float[2,1,2,2] W = {1, -1, 0.5, 0.25, -0.5, 1, 0.75, -0.25}> { c = Conv (image, W) y = Relu (c) }
"""
LIAR = """
import sys, numpy as np
model, inputs, outputs = sys.argv[1:]
{body}
"""


@pytest.fixture
def two_layers() -> onnx.ModelProto:
    model = onnx.parser.parse_model(TWO_LAYERS)
    return onnx.shape_inference.infer_shapes(model)


def _liar(folder: Path, body: str) -> Runtime:
    program = folder / "liar.py"
    program.write_text(LIAR.format(body=body))
    return Runtime("liar", ("numpy",), str(program), ("portable",))


def _second(first: Array) -> Array:
    """What the second layer makes of codes, in whole numbers."""
    weight = np.reshape([1, 2, 0, 1, 0, 1, 1, 0, 2, 0, 1, 1, 1, 1, 0, 2], (4, 4))
    return np.asarray(np.clip((first.astype(np.int64) - 128) @ weight + 128, 0, 255), np.uint8)


@pytest.mark.parametrize(("by", "share", "largest"), [(0, 1.0, 0), (1, 7 / 8, 1), (3, 7 / 8, 3)])
def test_a_slip_counts_in_its_own_layer_only(
    two_layers: onnx.ModelProto, by: int, share: float, largest: int
) -> None:
    x = np.asarray([[[0.5, -0.3, 0.2, 0.7]]], np.float32)
    first = np.asarray([[133, 125, 130 + by, 135]], np.uint8)
    tapped = ended_at(two_layers, codes_of(two_layers))
    found = [first[None], _second(first)[None]]
    assert layers(tapped, {"x": x}, found) == (share, largest)


def test_a_float_tail_is_left_out(two_layers: onnx.ModelProto) -> None:
    assert codes_of(two_layers) == ["a", "b"]
    assert last_codes(two_layers) == ["b"]
    session = Session(ended_at(two_layers, ["b"]), optimize=False)
    assert [port.name for port in session.outputs] == ["b"]


def test_codes_and_labels_are_counted() -> None:
    expected = [np.asarray([[[1, 5]], [[7, 2]]], np.uint8), np.asarray([[255], [0]], np.uint8)]
    found = [np.asarray([[[1, 5]], [[1, 2]]], np.uint8), np.asarray([[0], [0]], np.uint8)]
    assert try_runtimes.compare(found, expected, classifies=True) == (4 / 6, 255, "1/2")
    assert try_runtimes.compare(expected, expected, classifies=False) == (1.0, 0, "-")


def test_one_wrong_code_of_many_is_not_all() -> None:
    assert "100" not in str(try_runtimes.Found(1 - 1e-9, 1, "-", "-", (1 - 1e-9, 1)))
    assert str(try_runtimes.Found(1.0, 0, "8/8", "-")).split() == ["100.0000", "%", "0", "8/8", "-"]


@pytest.mark.parametrize(("off", "good"), [(0, True), (1, True), (2, False)])
def test_rounding_may_differ_by_one_code_in_qdq_only(off: int, good: bool) -> None:
    assert try_runtimes.Found(0.5, 9, "8/8", "-", (0.9, off)).good == good
    assert try_runtimes.Found(0.5, off, "8/8", "-").good == (off == 0)


def test_strict_and_qdq_run_in_the_installed_runtime(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--models", "digits_cnn", "--only", "onnxruntime", "--samples", "2", "--zoo", str(tmp_path)]
    assert try_runtimes.main([*words, "--forms", "portable", "qdq"]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'zoo.py'} does not exist" in said
    rows = {
        line.split()[2]: line.split()[3:] for line in said.splitlines() if line.startswith("onnxruntime ")
    }
    assert rows["portable"] == ["100.0000", "%", "0", "2/2", "-"]
    assert rows["qdq"][3] == "2/2"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("np.savez(outputs, np.full((2, 1, 4), 99, np.int8))", "WRONG"),
        ("raise ValueError('no such operator: Softmax')", "fails: ValueError: no such operator: Softmax"),
    ],
)
def test_wrong_bits_and_failures_end_with_1(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    body: str,
    message: str,
) -> None:
    halved = onnx.parser.parse_model(HALVED)
    onnx.save(halved, tmp_path / "halved.onnx")
    monkeypatch.setattr(try_runtimes, "RUNTIMES", (_liar(tmp_path, body),))
    assert try_runtimes.main([str(tmp_path / "halved.onnx"), "--only", "liar", "--samples", "2"]) == 1
    assert message in capsys.readouterr().out


def test_a_runtime_that_hangs_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "SECONDS", 0.2)
    with pytest.raises(Failed, match=r"not done after 0\.2 s"):
        run(_liar(tmp_path, "while True: pass"), Path(sys.executable), tmp_path, tmp_path, tmp_path)


def test_an_installed_runtime_needs_no_environment(tmp_path: Path) -> None:
    runtime = Runtime("here", ("onnxruntime", "numpy"), "run_onnxruntime.py", ())
    assert interpreter(runtime, tmp_path) == Path(sys.executable)


@pytest.mark.parametrize("requirement", ["onnxruntime==1.17.3", "no-such-package>=3"])
def test_others_get_one_with_what_they_require(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirement: str
) -> None:
    commands: list[list[object]] = []
    monkeypatch.setattr(venv, "create", lambda home, with_pip: commands.append([home, with_pip]))
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    python = interpreter(Runtime("old", (requirement,), "run_onnxruntime.py", ()), tmp_path)
    assert commands == [[tmp_path / "old", True], [python, "-m", "pip", "-q", "install", requirement]]


def test_every_runtime_has_a_program_and_a_known_form() -> None:
    for runtime in RUNTIMES:
        assert (Path(environments.__file__).parent / runtime.runner).is_file()
        assert set(runtime.forms) <= set(FORMS)


def test_forms_take_fixed_shapes_and_samples_one_by_one(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(BATCHED), tmp_path / "batched.onnx")
    images = np.random.default_rng(0).normal(size=(6, 1, 1, 4, 4)).astype(np.float32)
    samples = [{"image": image} for image in images]
    trial = make(
        Source("batched", tmp_path / "batched.onnx", samples[:4], samples[4:]), "int24", "generic-int8"
    )
    (image,) = trial.model.graph.input
    shape = [axis.dim_value for axis in image.type.tensor_type.shape.dim]
    assert (shape, trial.feeds["image"].shape) == ([1, 1, 4, 4], (2, 1, 1, 4, 4))
    assert trial.feeds["image"].dtype == np.uint8
    assert [array.shape for array in trial.expected()] == [(2, 1, 2, 3, 3)]


def test_the_embedded_models_come_with_their_samples() -> None:
    found = {source.name: source for source in embedded(2)}
    assert {"digits_cnn", "digits_vit"} <= set(found)
    assert {len(source.samples) for source in found.values()} == {2}
    assert found["digits_cnn"].samples[0]["image"].shape == (1, 1, 8, 8)
