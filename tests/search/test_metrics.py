"""Metrics: what a command prints, what a function returns, and what goes wrong, in one clear sentence."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxq.errors import UsageError
from onnxq.search.metrics import Command, Function, MetricError, open_metric

MODEL = Path("some model.onnx")


def command(code: str, timeout: float = 20.0) -> Command:
    return Command((sys.executable, "-c", code, "{model}"), timeout)


def test_the_last_number_that_a_command_prints_counts() -> None:
    assert command("print('epoch 3 top-1: 0.8875')")(MODEL) == 0.8875
    assert command("print('loss', -1.5e-3)")(MODEL) == -1.5e-3
    assert command("print('top1=0.75, 88.5% of /tmp/try-9/a7.onnx')")(MODEL) == 88.5, "words hold no numbers"
    assert command("print('SQNR 33.6dB')")(MODEL) == 33.6, "a unit may follow"
    assert command("print('0.5.')")(MODEL) == 0.5, "the end of a sentence"
    assert command("import sys; print(len(sys.argv[1]))")(MODEL) == len(str(MODEL)), "one argument, no shell"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('no labels')", "ended with exit code 1: no labels"),
        ("print('done')", "printed no number: done"),
        ("print('/tmp/try-9/a7.onnx')", "printed no number: /tmp/try-9"),
        ("print('nan')", "is nan, which cannot be compared"),
        ("import time; time.sleep(9)", "took longer than 0.5 s"),
    ],
)
def test_a_command_that_fails_says_how(code: str, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        command(code, 0.5 if "sleep" in code else 20.0)(MODEL)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(MetricError, match="'/no/such' cannot be run: No such file"):
        Command(("/no/such", "{model}"))(MODEL)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda path: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda path: math.nan, "the metric is nan"),
        (lambda path: "much", "raised ValueError: could not convert"),
    ],
)
def test_a_function_that_fails_says_how(function: Callable[[Path], float], message: str) -> None:
    with pytest.raises(MetricError, match=message):
        Function(function)(MODEL)


def test_a_function_that_ends_the_program_fails_for_that_model() -> None:
    def leaves(path: Path) -> float:
        raise SystemExit(0)

    with pytest.raises(MetricError, match="raised SystemExit: 0"):
        Function(leaves)(MODEL)


def test_a_function_of_a_file_is_found_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "my metric.py"
    file.write_text("def score(path):\n    return len(str(path))\nnumber = 3\n")
    found = open_metric(f"{file}:score")
    assert found is not None
    assert found(MODEL) == len(str(MODEL))
    for name, message in (("other", "has no function 'other'"), ("number", "has no function 'number'")):
        with pytest.raises(UsageError, match=message):
            open_metric(f"{file}:{name}")
    with pytest.raises(UsageError, match=r"there is no Python file '.*none.py'"):
        open_metric(f"{tmp_path}/none.py:score")
    file.write_text("raise KeyError('labels')")
    with pytest.raises(UsageError, match=r"my metric.py' raised KeyError: 'labels'"):
        open_metric(f"{file}:score")


def test_which_metric_a_text_means() -> None:
    assert open_metric(None) is open_metric("sqnr") is None
    assert open_metric("python 'a b' {model}") == Command(("python", "a b", "{model}"))
    with pytest.raises(UsageError, match="'rate-it' is no program that can be run here"):
        open_metric("rate-it {model}")
    for wrong in ("python evaluate.py", "unclosed '{model}"[:10]):
        with pytest.raises(UsageError, match=r"neither SQNR nor FILE|cannot read the metric command"):
            open_metric(wrong)
