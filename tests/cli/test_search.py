"""``onnxq sensitivity`` and ``onnxq quantize --auto``: what they print, write and refuse."""

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from time import perf_counter

import pytest

from .helpers import Run


def test_sensitivity_ranks_and_draws(onnxq: Run, small: Path) -> None:
    what = ("sensitivity", small / "model.onnx", "--data", small / "data")
    done = onnxq(*what, "--top", 1, "--picture", small / "s.svg")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("all quantized for generic-int8: y ")
    assert any(line.startswith("LAYER ") for line in lines)
    assert lines[-1] == f"drawn to {small / 's.svg'}"
    assert ET.parse(small / "s.svg").getroot().tag.endswith("svg")
    report = json.loads(onnxq(*what, "--json").out)
    worst = [min(float(dB) for dB in layer["both"].values()) for layer in report["layers"]]
    assert worst == sorted(worst)
    assert {"c", "r"} & {layer["node"] for layer in report["layers"]}


def test_auto_writes_the_winner_and_the_text_that_makes_it_again(onnxq: Run, small: Path) -> None:
    script = small / "metric.py"
    script.write_text("import sys; print(len(open(sys.argv[1], 'rb').read()) > 0)\nprint('score', 7)\n")
    out, report = small / "out.onnx", small / "report.json"
    model = ("--data", small / "data")
    how = ("--auto", "--metric", f"{sys.executable} {script} {{model}}", "--coverage", 1, "--report", report)
    done = onnxq("quantize", small / "model.onnx", *model, *how, "-o", out, "--results", small / "results")
    assert done.code == 0, done.err
    assert "the float model: 7" in done.out
    assert "winner: percentile:99.999, 7" in done.out, "of equals the simplest, which is tried first"
    assert json.loads(report.read_text())["best"]["value"] == 7
    again = ("-p", f"@{small / 'out.pipeline'}", "-o", small / "again.onnx")
    assert onnxq("run", small / "model.onnx", *model, *again).code == 0
    assert (small / "again.onnx").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("body", "message"), [("1 / 0", "raised ZeroDivisionError"), ("float('nan')", "the metric is nan")]
)
def test_a_metric_that_fails_is_an_error(onnxq: Run, small: Path, body: str, message: str) -> None:
    (small / "m.py").write_text(f"def score(path):\n    return {body}\n")
    how = ("--data", small / "data", "--auto", "--metric", f"{small / 'm.py'}:score")
    done = onnxq("quantize", small / "model.onnx", *how, "-o", small / "out.onnx")
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (small / "out.onnx").exists()


def test_options_that_would_be_ignored_are_refused(onnxq: Run, small: Path) -> None:
    given = ("quantize", small / "model.onnx", "--data", small / "data", "-o", small / "out.onnx")
    done = onnxq(*given, "--auto", "--explain")
    assert (done.code, "it takes none of --stats" in done.err) == (2, True)
    done = onnxq(*given, "--metric", "rate {model}")
    assert (done.code, "add --auto" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "--auto measures candidates on samples: pass --data FOLDER"),
        (("--data", "DATA", "--metric", "top1"), "the metric 'top1' is neither SQNR nor FILE.py:FUNCTION"),
        (("--data", "DATA", "--time-budget", 0), "the time budget is 0 s, expected more than 0"),
    ],
)
def test_what_auto_refuses(onnxq: Run, small: Path, more: tuple[object, ...], message: str) -> None:
    given = [small / "data" if word == "DATA" else word for word in more]
    done = onnxq("quantize", small / "model.onnx", "-o", small / "out.onnx", "--auto", *given)
    assert done.code == 2
    assert message in done.err
    assert not (small / "out.onnx").exists()


def test_a_metric_that_outlasts_the_budget_is_interrupted(onnxq: Run, small: Path) -> None:
    """The first two calls, of the float model and the first candidate, are quick: they are always made."""
    (small / "m.py").write_text(
        "import time\ncalls = []\ndef score(path):\n    calls.append(path)\n"
        "    if len(calls) > 2:\n        time.sleep(60)\n    return 1.0\n"
    )
    how = ("--data", small / "data", "--auto", "--metric", f"{small / 'm.py'}:score", "--time-budget", 2)
    begin = perf_counter()
    done = onnxq("quantize", small / "model.onnx", *how, "-o", small / "out.onnx")
    assert perf_counter() - begin < 30
    assert done.code == 0, done.err
    assert done.out.count("note: ") == 1
    assert "note: given up, as their part of the time was over: " in done.out
    assert "the time budget was used up before the ladder's end" in done.out
    assert "winner: percentile:99.999, 1\n" in done.out


def test_results_of_another_search_are_left_and_named(onnxq: Run, small: Path) -> None:
    (small / "m.py").write_text("def one(path):\n    return 1.0\ndef two(path):\n    return 2.0\n")
    what = ("quantize", small / "model.onnx", "--data", small / "data", "-o", small / "out.onnx")
    how = ("--auto", "--coverage", 1, "--results", small / "results")
    first, again = (onnxq(*what, *how, "--metric", f"{small / 'm.py'}:one") for _ in range(2))
    other = onnxq(*what, *how, "--metric", f"{small / 'm.py'}:two")
    foreign = f"the results in '{small / 'results'}' are of other searches"
    assert [done.err.count(foreign) for done in (first, again, other)] == [0, 0, 1]
    assert "winner: percentile:99.999, 2\n" in other.out
