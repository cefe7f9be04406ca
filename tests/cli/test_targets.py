"""Targets, recipes, rules and explanations at the command line."""

import json
from pathlib import Path

import pytest

from .helpers import MODELS, Run

CNN = MODELS / "digits_cnn.onnx"
IMAGES = MODELS / "digits" / "calibration.npy"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network as Q/DQ, its Softmax-free head kept float by a recipe."""
    from onnxq.cli.main import main

    folder = tmp_path_factory.mktemp("made")
    (folder / "r.toml").write_text('[[rule]]\nop = "Gemm"\ndtype = "float"\n')
    arguments = [
        "quantize",
        CNN,
        "--data",
        IMAGES,
        "--limit",
        16,
        "-o",
        folder / "q.onnx",
        "--recipe",
        folder / "r.toml",
    ]
    assert main([str(argument) for argument in arguments]) == 0
    return folder / "q.onnx"


def test_a_recipe_is_kept_in_what_the_model_tells_of_itself(made: Path, onnxq: Run) -> None:
    done = onnxq("inspect", made)
    assert f"insert-qdq{{recipe={made.parent / 'r.toml'}}}" in done.out.replace("'", "")


def test_plan_takes_a_recipe(made: Path, onnxq: Run) -> None:
    done = onnxq("plan", CNN, "--recipe", made.parent / "r.toml", "--nodes")
    assert [line.split()[-4:] for line in done.out.splitlines() if " Gemm " in line] == [
        ["recipe", "keeps", "it", "float"]
    ]


def test_explain_lists_what_stays_float_and_why(made: Path, onnxq: Run) -> None:
    done = onnxq("explain", made, "--float")
    assert done.code == 0
    assert " of the multiplications" in done.out.splitlines()[0]
    assert "QLinearConv" in done.out
    gemm = next(line for line in done.out.splitlines() if " Gemm " in line)
    assert "is float" in gemm
    data = json.loads(onnxq("explain", made, "--json", "--target", "generic-int8").out)
    assert 0 < data["integer_share"] < 1
    assert {"node", "op", "integer", "pattern", "fix", "macs"} <= set(data["nodes"][0])


def test_verify_holds_a_model_against_a_target(made: Path, onnxq: Run) -> None:
    good = onnxq("verify", made, "--target", "generic-int8")
    assert (good.code, good.out.splitlines()[-1]) == (0, "rules of generic-int8: ok")
    bad = onnxq("verify", made, "--target", "xint8")
    assert bad.code == 1
    assert "rule power-of-two" in bad.err
    assert "TDA4VM" in bad.out


def test_targets_show_their_facts(onnxq: Run) -> None:
    done = onnxq("targets", "show", "tensorrt")
    assert "activation.symmetric verified: TensorRT" in done.out
    assert "static shapes: no" in done.out


def test_dynamic_shapes_are_refused_with_advice(onnxq: Run) -> None:
    done = onnxq("plan", CNN, "--target", "tidl")
    assert done.code == 2
    assert "fix-shapes{axes='batch=1'}" in done.err
