"""The main job through the command line, on the trained digit classifier with held-out test images."""

import json
import re
from pathlib import Path

import onnx
import pytest

from onnxq.cli.main import main

from .helpers import HEAD, MODELS, Run

CNN, DIGITS = MODELS / "digits_cnn.onnx", MODELS / "digits"
TRAINED = MODELS / "digits_cnn_qat.onnx"
TEST = ("--data", DIGITS / "test.npy", "--labels", DIGITS / "test_labels.npy")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``qdq.onnx``, its ``report.json``, and ``integer.onnx``."""
    folder = tmp_path_factory.mktemp("made")
    for name, more in (("qdq", ["--report", f"{folder}/report.json"]), ("integer", ["--target", "integer"])):
        data = ["--data", str(DIGITS / "calibration.npy"), "--limit", "32"]
        assert main(["quantize", str(CNN), *data, "-o", f"{folder}/{name}.onnx", *more]) == 0
    return folder


@pytest.mark.parametrize("name", ["qdq", "integer"])
def test_a_quantized_model_is_valid_and_as_accurate(onnxq: Run, made: Path, name: str) -> None:
    onnx.checker.check_model(made / f"{name}.onnx", full_check=True)
    done = onnxq("compare", CNN, made / f"{name}.onnx", *TEST, "--json")
    assert done.code == 0, done.err
    top1 = json.loads(done.out)["top1"]
    assert top1["reference"] == pytest.approx(538 / 540)
    assert top1["test"] > top1["reference"] - 0.005


def test_integer_only_holds_for_the_integer_form_alone(onnxq: Run, made: Path) -> None:
    yes, no = (onnxq("verify", "--integer-only", made / f"{name}.onnx") for name in ("integer", "qdq"))
    assert yes.code == 0
    assert yes.out.startswith("graph: ok\nonnx checker: ok\nonnxruntime: ok\n0 float tensors\n")
    assert yes.out.endswith("\nwords too narrow: 0\nwords without a proof: 0\n")
    assert no.code == 1
    assert re.search(r"^image +main +float, input of the graph", no.out, re.MULTILINE)
    assert "float tensors" in no.err


def test_the_report_holds_plan_steps_and_proof(made: Path) -> None:
    report = json.loads((made / "report.json").read_text())
    assert report["pipeline"] == _metadata(made / "qdq.onnx")["onnxq.pipeline"]
    assert all(node["quantized"] for node in report["plan"]["nodes"])
    assert report["comparison"]["outputs"][0]["sqnr_db"] > 25
    assert sum(step["edits"] for step in report["steps"] if step["pass"] == "insert-qdq") > 0


def test_inspect_tells_form_scales_and_history(onnxq: Run, made: Path) -> None:
    qdq, integer = (onnxq("inspect", made / f"{name}.onnx").out for name in ("qdq", "integer"))
    assert "QuantizeLinear, " in qdq
    assert re.search(r"^image +input +uint8\[batch,1,8,8\] +scale 0.0039", integer, re.MULTILINE)
    assert "\nonnxq.pipeline: " in integer


def test_the_summary_names_what_stayed_float(onnxq: Run, small: Path) -> None:
    out = small / "out.onnx"
    done = onnxq("quantize", small / "model.onnx", "--data", small / "data", "-o", out)
    assert done.code == 0, done.err
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[0] == "3 of 4 nodes on integers for the target generic-int8"
    assert "  1 Sin: target generic-int8 has no integer Sin" in lines
    assert any(re.match(r"  y: SQNR \d\d\.\d\d dB, cosine ", line) for line in lines)
    assert lines[-1] == f"written to {out}"
    onnx.checker.check_model(out, full_check=True)


@pytest.mark.parametrize(
    ("options", "kept", "named"),
    [
        ("activation=int16", 21, "'image' (uint8)"),
        ("activation=uint16 weight=int8", 21, "'image' (uint8)"),
        ("weight=int4", 10, "'stem.conv.parametrizations.weight.original' (int8)"),
        ("per_channel=false", 10, "'stem.conv.parametrizations.weight.original' (int8)"),
        ("others=int16", 11, "'/Add_output_0' (uint8)"),
        ("activation=uint8 weight=int8", 0, ""),
    ],
)
def test_trained_values_keep_their_grids_and_that_is_said(
    options: str, kept: int, named: str, onnxq: Run
) -> None:
    """The model has 21 Q/DQ pairs on activations, 11 of them not in front of a product, and 10 weights."""
    done = onnxq("plan", TRAINED, "--nodes", "--options", options)
    assert done.code == 0
    assert done.err.count("warning") == (kept > 0)
    if kept:
        assert f"{kept} of the model's activations and weights keep the Q/DQ" in done.err
        assert f"whatever {options} asks for: " in done.err
        assert named in done.err


def test_a_recipe_for_trained_values_is_answered(onnxq: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[[rule]]\nvalue = "/Add_output_0"\ndtype = "float"\n[[rule]]\nop = "Mul"\ndtype = "float"\n'
    )
    words = ("--data", "random:1", "--recipe", recipe, "-o", tmp_path / "out.onnx")
    done = onnxq("quantize", TRAINED, *words)
    assert "2 of the model's activations and weights keep the Q/DQ" in done.err
    assert "whatever the recipe asks for: '/Add_output_0' (uint8), '/gated/gated.1/Mul_output_0'" in done.err


def test_the_plan_of_a_trained_model_is_what_comes_out(onnxq: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    done = onnxq("quantize", TRAINED, "--data", "random:1", "--target", "integer", "-o", out)
    assert done.out.startswith("26 of 26 nodes on integers for the target integer\nsize:")
    assert "\n0 float tensors\n" in onnxq("verify", out, "--integer-only").out
    done = onnxq("quantize", TRAINED, "--data", "random:1", "-o", out)
    explained = onnxq("explain", out, "--target", "generic-int8", "--float").out
    for said in (done.out, explained):
        assert said.startswith("25 of 26 nodes on integers for the target generic-int8")
    assert "1 Concat: the Q/DQ around it has several scales" in done.out
    assert "Concat  main   float" in explained


def test_equal_runs_write_equal_bytes(onnxq: Run, small: Path) -> None:
    files = [small / "one.onnx", small / "two.onnx"]
    for file in files:
        onnxq("quantize", small / "model.onnx", "--data", small / "data", "-o", file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_random_data_is_warned_about_twice(onnxq: Run, small: Path) -> None:
    done = onnxq("quantize", small / "model.onnx", "--data", "random:2", "-o", small / "out.onnx")
    assert done.code == 0
    assert done.err.startswith("onnxq: warning: random samples: the measured ranges are meaningless")
    assert "a smoke test, not a model to use" in done.out


def test_watching_a_run(onnxq: Run, small: Path) -> None:
    watch = ["--verify-each", "--check-each", "--time-passes", "--explain"]
    dumps = ["--dump-after", f"insert-qdq={small}/some", "--dump-after", f"all={small}/all"]
    data = ["--data", small / "data", "-o", small / "out.onnx", "--proof", "0"]
    done = onnxq("quantize", small / "model.onnx", *data, *watch, *dumps)
    assert done.code == 0, done.err
    assert re.search(r"^insert-qdq +Sin \(output 'e'\) +target generic-int8 has no", done.out, re.MULTILINE)
    assert re.search(r"^\d+/\d+ +insert-qdq +approximate +\d+\.\d\d$", done.out, re.MULTILINE)
    assert re.search(r"^insert-qdq +1 +\d+ +\d+\.\d$", done.out, re.MULTILINE)
    assert "SQNR" not in done.out.split("contracts kept")[0], "no proof was asked for"
    assert len(list((small / "some").glob("*-insert-qdq.onnx"))) == 1
    assert len(list((small / "all").glob("*.onnx"))) > 2


def test_a_value_of_a_model_cannot_steer_the_terminal(onnxq: Run, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(f"{HEAD} g (float[2] x) => (float[2] y) {{y = Relu (x)}}")
    model.graph.input[0].name = model.graph.node[0].input[0] = "\x1b[2J"
    onnx.save(model, tmp_path / "model.onnx")
    assert "\x1b" not in onnxq("inspect", tmp_path / "model.onnx").out
    assert "\\x1b[2J" in onnxq("inspect", "--outline", tmp_path / "model.onnx").out


def _metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_open_axes_can_be_fixed_on_the_way(onnxq: Run, small: Path) -> None:
    out = small / "fixed.onnx"
    quantize = ["quantize", small / "model.onnx", "--data", small / "data", "-o", out, "--fix-shapes"]
    for axes in ("samples", "N=1"):
        assert onnxq(*quantize, axes).code == 0
        assert onnx.load(out).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    wrong = onnxq(*quantize, "N")
    assert wrong.code == 2
    assert "shapes are written 'batch=1, sequence=576', or samples, not 'N'" in wrong.err


def test_a_tail_with_nodes_without_inputs_is_planned(onnxq: Run, tmp_path: Path) -> None:
    """A detector's end: a random tensor, which reads nothing, joins what leaves."""
    text = f"""{HEAD} g (float[N,2,6,6] x) => (float[N,4,6,6] y) {{
        c = Relu (x)
        n = RandomNormal <shape = [1,2,6,6]> ()
        s = Add (c, n)
        y = Concat <axis = 1> (c, s)
    }}"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    done = onnxq("plan", tmp_path / "model.onnx", "--target", "generic-int8")
    assert done.code == 0, done.err
