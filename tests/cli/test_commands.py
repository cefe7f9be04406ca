"""The commands around the main job."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline import registry
from onnxq.pipeline.base import Contract, NodePass
from onnxq.targets.target import load_target, target_names

from .helpers import CONV, HEAD, Run, weights, write_model


@dataclass(frozen=True)
class BreakRelu(NodePass):
    """Give Relu an attribute that it does not have."""

    name = "test-break-relu"
    contract = Contract.EXACT
    root = "Relu"

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        if "alpha" not in node.attributes:
            rw.set_attribute(node, "alpha", 1.0)


@dataclass(frozen=True)
class DoubleRelu(NodePass):
    """Compute something else, and call that exact."""

    name = "test-double-relu"
    contract = Contract.EXACT
    root = "Relu"

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        value = node.inputs[0]
        assert value is not None
        rw.replace(node, rw.op("Add", [value, value], like=node.outputs[0]))


@pytest.fixture
def bad_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry with the passes above."""
    known = {**registry.all_passes(), BreakRelu.name: BreakRelu, DoubleRelu.name: DoubleRelu}
    monkeypatch.setattr(registry, "all_passes", lambda: known)


def test_plan_prints_every_decision(onnxq: Run, small: Path) -> None:
    done = onnxq("plan", small / "model.onnx")
    assert done.code == 0, done.err
    assert re.search(r"^c +Conv +main +integer +integer operator$", done.out, re.MULTILINE)
    assert re.search(r"^e +Sin +main +float +target generic-int8 has no integer Sin$", done.out, re.MULTILINE)
    assert re.search(r"^W +weight +int8 +0 +per-channel, axis 0 +W +constant$", done.out, re.MULTILINE)


def test_plan_follows_target_and_options(onnxq: Run, small: Path) -> None:
    done = onnxq("plan", small / "model.onnx", "--json", "--options", "symmetric=true activation=int8")
    values = {value["value"]: value for value in json.loads(done.out)["values"]}
    assert (values["x"]["format"], values["x"]["symmetric"]) == ("int8", True)
    assert "SCALE GROUP" not in onnxq("plan", small / "model.onnx", "--nodes").out
    assert "RUNS ON" not in onnxq("plan", small / "model.onnx", "--values").out


def test_plan_knows_the_lengths_that_quantize_is_given(onnxq: Run, tmp_path: Path) -> None:
    """A recurrent network is written out as its steps where their number is known."""
    text = f"""{HEAD} g (float[N,T,2] x) => (float[1,N,3] y) {{
        t = Transpose <perm = [1,0,2]> (x)
        Y, y = RNN <hidden_size = 3> (t, W, R)
    }}"""
    model, data = tmp_path / "model.onnx", tmp_path / "x.npy"
    write_model(model, text, W=weights(1, 3, 2), R=weights(1, 3, 3))
    np.save(data, weights(1, 4, 2))
    plan = ["plan", model, "--target", "integer"]
    assert " RNN " in onnxq(*plan).out
    fixed = onnxq(*plan, "--fix-shapes", "N=1, T=4")
    assert fixed.code == 0, fixed.err
    assert " RNN " not in fixed.out
    of_samples = ["--fix-shapes", "samples", "--data", data]
    assert onnxq(*plan, *of_samples).out == fixed.out
    assert " Tanh " in onnxq("sensitivity", model, "--target", "integer", *of_samples).out
    for wrong, why in (
        (["--fix-shapes", "samples"], "there is none: pass --data"),
        (["--data", data], "--data for --fix-shapes samples only"),
    ):
        done = onnxq(*plan, *wrong)
        assert (done.code, why in done.err) == (2, True), done.err


def test_run_ends_where_it_is_told(onnxq: Run, small: Path) -> None:
    out = small / "out.onnx"
    words = ["-p", "prepare, insert-qdq", "--data", small / "data", "-o", out]
    assert onnxq("run", small / "model.onnx", *words).code == 0
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(out).graph.node}
    assert onnxq("run", small / "model.onnx", *words, "--stop-after", "simplify").code == 0
    assert "QuantizeLinear" not in {node.op_type for node in onnx.load(out).graph.node}


@pytest.mark.usefixtures("bad_passes")
def test_bisect_names_the_pass_that_breaks_the_model(onnxq: Run, small: Path) -> None:
    done = onnxq("run", small / "model.onnx", "-p", "clean, test-break-relu, fuse", "--bisect")
    assert done.code == 1
    assert done.out == ""
    assert "'test-break-relu'" in done.err
    assert "alpha" in done.err, "and what is wrong"


@pytest.mark.usefixtures("bad_passes")
def test_bisect_names_the_pass_that_breaks_its_contract(onnxq: Run, small: Path) -> None:
    done = onnxq("run", small / "model.onnx", "-p", "clean, test-double-relu, fuse", "--bisect")
    assert done.code == 1
    assert "the pass 'test-double-relu'" in done.err
    assert "broke its contract 'exact'" in done.err


def test_bisect_finds_nothing_where_all_is_well(onnxq: Run, small: Path) -> None:
    done = onnxq("run", small / "model.onnx", "-p", "prepare", "--bisect")
    assert (done.code, done.err) == (0, "")


def test_calibrate_measures_what_numpy_measures(onnxq: Run, small: Path) -> None:
    low, high = (f([np.load(file) for file in (small / "data").iterdir()]) for f in (np.min, np.max))
    done = onnxq("calibrate", small / "model.onnx", "--data", small / "data")
    assert done.code == 0, done.err
    assert re.search(rf"^x +histogram +216 +{low:.6g} +{high:.6g}$", done.out, re.MULTILINE)


def test_statistics_are_kept_shown_and_not_merged_with_themselves(onnxq: Run, small: Path) -> None:
    file = small / "model.stats.npz"
    assert onnxq("calibrate", small / "model.onnx", "--data", small / "data", "-o", file).code == 0
    shown = onnxq("stats", "show", file)
    assert "3 samples\ncomplete: yes\n" in shown.out
    assert re.search(r"^x +histogram +216 ", shown.out, re.MULTILINE)
    done = onnxq("stats", "merge", file, file, "-o", small / "sum.stats.npz")
    assert done.code == 2
    assert "would count twice" in done.err


@pytest.mark.parametrize("options", ["", "activation=int16"])
def test_statistics_are_those_that_quantize_measures(onnxq: Run, small: Path, options: str) -> None:
    file, files = small / "model.stats.npz", (small / "measured.onnx", small / "kept.onnx")
    same = [small / "model.onnx", "--data", small / "data", "--options", options, "--fix-shapes", "samples"]
    assert onnxq("calibrate", *same, "-o", file).code == 0
    assert onnxq("quantize", *same, "-o", files[0]).code == 0
    done = onnxq("quantize", *same, "--stats", file, "-o", files[1])
    assert done.code == 0, done.err
    assert files[0].read_bytes() == files[1].read_bytes()


def test_compare_lists_the_worst_first_and_fails_below_a_limit(onnxq: Run, small: Path) -> None:
    write_model(small / "other.onnx", CONV, W=weights(4, 2, 3, 3), b=weights(4) + np.float32(0.1))
    words = ["compare", small / "model.onnx", small / "other.onnx", "--data", small / "data", "--per-tensor"]
    done = onnxq(*words, "--min-sqnr", "1000")
    assert done.code == 1
    assert done.err.startswith("onnxq: error: SQNR below 1000 dB: 'y' has ")
    decibels = [float(line.split()[1]) for line in done.out.split("worst first")[1].splitlines()[2:]]
    assert len(decibels) == 3
    assert decibels == sorted(decibels)
    assert onnxq(*words, "--min-sqnr", "1").code == 0


def test_verify_says_which_check_fails(onnxq: Run, tmp_path: Path) -> None:
    head = '<ir_version: 8, opset_import: ["": 17, "acme": 1]>'
    text = f"{head} g (float[2] x) => (float[2] y) {{y = acme.Magic (x)}}"
    write_model(tmp_path / "model.onnx", text)
    done = onnxq("verify", tmp_path / "model.onnx")
    assert done.code == 1
    assert done.out.startswith("graph: ok\nonnx checker: ok\nonnxruntime: ONNX Runtime cannot load the model")
    assert "fails: onnxruntime" in done.err


def test_passes_lists_all_and_shows_each(onnxq: Run) -> None:
    listed = onnxq("passes").out
    for name, cls in registry.all_passes().items():
        assert re.search(rf"^{name} +{cls.contract} ", listed, re.MULTILINE)
        shown = onnxq("passes", name)
        assert shown.code == 0
        assert (cls.__doc__ or "?").splitlines()[0] in shown.out
    assert "symmetric: none, true|false (default none)" in onnxq("passes", "insert-qdq").out


def test_presets_are_shown(onnxq: Run) -> None:
    assert re.search(r"^prepare ", onnxq("passes", "--presets").out, re.MULTILINE)
    assert onnxq("passes", "prepare").out.startswith("prepare is a preset: ")


def test_targets_lists_all_and_shows_each(onnxq: Run) -> None:
    listed = onnxq("targets").out
    for name in target_names():
        assert re.search(rf"^{name} ", listed, re.MULTILINE)
        assert f"summary: {load_target(name).summary}\n" in onnxq("targets", "show", name).out


@pytest.mark.parametrize("bounds", [(0.0, 6.0), (6.0, 6.0), (0.0, 0.0), (0.01, 5.99)], ids=str)
def test_explain_knows_a_quantized_min_at_the_ends_of_its_clip(
    bounds: tuple[float, float], onnxq: Run, tmp_path: Path
) -> None:
    """Rounding moves a constant by up to half a step to either side."""
    text = f"""{HEAD} g (float[N,2,6,6] x) => (float[N,2,6,6] y) {{
        a = Conv (x, W)
        c = Clip (a, low, high)
        m = Min (c, k)
        y = Conv (m, W)
    }}"""
    ends = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    k = np.array(bounds, np.float32).reshape(2, 1, 1)
    write_model(tmp_path / "model.onnx", text, W=5 * weights(2, 2, 1, 1), k=k, **ends)
    words = ("--data", "random:2", "--proof", 0, "-o", tmp_path / "qdq.onnx")
    assert onnxq("quantize", tmp_path / "model.onnx", *words).code == 0
    done = onnxq("explain", tmp_path / "qdq.onnx", "--target", "generic-int8", "--float")
    assert "no node stays float" in done.out
