"""The frame of all commands: help, streams, exit codes, defects, terminals."""

import io
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxq import __version__, api
from onnxq.cli.main import app, main

from .helpers import MODELS, Run

SCRIPT = [sys.executable, "-c", "import sys; from onnxq.cli.main import main; sys.exit(main())"]
HEAVY = {"numpy", "onnx", "onnx_ir", "onnxruntime", "onnxsim", "rich", "PIL"}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``terminal("plan", path)``: all that a colour terminal of 100 columns would show."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(*arguments: object) -> str:
        stream = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            main([str(argument) for argument in arguments])
        return stream.getvalue()

    return run


def test_help_loads_nothing_heavy_and_is_quick() -> None:
    check = f"assert not {HEAVY} & {{*sys.modules}}"
    code = f"import sys; from onnxq.cli.main import main; main(['--help']); {check}"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    assert "quantize" in done.stdout
    assert seconds < 1, "0.3 s are promised; a busy machine gets more"


def test_version(onnxq: Run) -> None:
    assert onnxq("--version").out == f"onnxq {__version__}\n"


def test_no_command_is_wrong_use_and_shows_the_help(onnxq: Run) -> None:
    done = onnxq()
    assert (done.code, done.out) == (2, "")
    assert "Commands:" in done.err


@pytest.mark.parametrize(
    "command", [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
)
def test_every_command_and_option_is_explained(onnxq: Run, command: str) -> None:
    done = onnxq(command, "--help")
    assert done.code == 0
    head, _, listed = done.out.partition("Options:\n")
    assert len(head.splitlines()[2]) <= 70, "the first line is shown whole in the list of commands"
    assert not [line for line in listed.splitlines() if line.strip().endswith(">")], "an option without help"


def test_results_and_errors_go_to_their_streams() -> None:
    good, bad = (
        subprocess.run([*SCRIPT, "inspect", model], capture_output=True, text=True, check=False)
        for model in (MODELS / "digits_cnn.onnx", "gone.onnx")
    )
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("NAME")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "onnxq: error: cannot load 'gone.onnx': there is no such file\n"


def test_a_closed_pipe_is_no_error() -> None:
    with subprocess.Popen([*SCRIPT, "passes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_a_stream_that_knows_ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["inspect", "größe.onnx"]) == 2
    stream.flush()
    assert b"gr\\xf6\\xdfe.onnx" in written.getvalue()


@pytest.mark.parametrize("words", [["plan", "x.onnx", "--debug"], ["--debug", "plan", "x.onnx"]])
def test_debug_shows_the_traceback(onnxq: Run, words: list[str]) -> None:
    done = onnxq(*words)
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.endswith("onnxq: error: cannot load 'x.onnx': there is no such file\n")


def test_a_defect_is_called_one(onnxq: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(api, "plan", broken)
    done = onnxq("plan", "x.onnx")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "onnxq: this is a defect of onnxq: KeyError: 'oops'; run again with --debug and report it\n"
    )


def test_ctrl_c_ends_quietly(onnxq: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "plan", interrupted)
    done = onnxq("plan", "x.onnx")
    assert (done.code, done.out, done.err) == (130, "", "onnxq: interrupted\n")


def test_a_terminal_gets_colours_and_progress(terminal: Callable[..., str], small: Path) -> None:
    data = ["--data", small / "data", "-o", small / "out.onnx"]
    assert "calibrating" in terminal("quantize", small / "model.onnx", *data)
    assert "\x1b[1;31m" in terminal("inspect", "gone.onnx"), "bold red"


def test_no_color_is_respected(terminal: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in terminal("inspect", "gone.onnx")


def test_a_terminal_folds_what_plain_text_keeps_whole(terminal: Callable[..., str], onnxq: Run) -> None:
    assert max(map(len, onnxq("targets").out.splitlines())) > 100
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", terminal("targets")).splitlines())) <= 100
