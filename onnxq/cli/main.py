"""``onnxq``: the commands together, and what becomes of every error."""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, Protocol, runtime_checkable

import typer

from onnxq._version import __version__
from onnxq.cli import console
from onnxq.cli.calibrate import calibrate
from onnxq.cli.compare import compare
from onnxq.cli.explain import explain
from onnxq.cli.golden import golden
from onnxq.cli.inspect import inspect
from onnxq.cli.passes import passes
from onnxq.cli.plan import plan
from onnxq.cli.quantize import quantize
from onnxq.cli.run import run
from onnxq.cli.sensitivity import sensitivity
from onnxq.cli.stats import stats
from onnxq.cli.targets import targets
from onnxq.cli.verify import verify
from onnxq.errors import OnnxqError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for _command in (
    quantize,
    run,
    plan,
    calibrate,
    sensitivity,
    compare,
    verify,
    golden,
    explain,
    inspect,
    passes,
):
    app.command()(_command)
app.add_typer(stats, name="stats")
app.add_typer(targets, name="targets")


@app.callback(invoke_without_command=True)
def onnxq(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Show the traceback of an error; may stand anywhere.",
            envvar="ONNXQ_DEBUG",
        ),
    ] = False,
) -> None:
    """Float ONNX models to Q/DQ and to strict integer-only graphs, pass by pass, with proof."""
    if version:
        console.result(f"onnxq {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        sys.stderr.write(f"{context.get_help()}\n")
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (default: that of the process); gives the exit code and prints every error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("ONNXQ_DEBUG", "0") not in ("", "0")
    console.tolerate_any_encoding()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = lambda message, *_: console.warn(str(message))
            return _run([argument for argument in given if argument != "--debug"])
    except KeyboardInterrupt:
        code, text = _INTERRUPTED, "interrupted"
    except Exception as error:
        if debug:
            traceback.print_exc()
        code, text = _explained(error)
    finally:
        console.finish()
    console.complain(text)
    return code


def _run(arguments: Sequence[str]) -> int:
    """Typer's own exits come back as a number, its complaints as exceptions."""
    code = typer.main.get_command(app).main(list(arguments), prog_name="onnxq", standalone_mode=False)
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


@runtime_checkable
class _Misuse(Protocol):
    """What typer raises for a command line that it cannot read; the class has moved between versions."""

    exit_code: int

    def format_message(self) -> str: ...


def _explained(error: Exception) -> tuple[int, str]:
    """The exit code and the message for an error."""
    if isinstance(error, OnnxqError):
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
        return error.exit_code, f"error: {error}{notes}"
    if isinstance(error, _Misuse):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "onnxq"
        message = error.format_message().replace("\n", " ").replace("Value error, ", "")
        return 2, f"error: {message}\n  `{command} --help` lists what there is"
    if isinstance(error, typer.Abort):
        return _INTERRUPTED, "interrupted"
    if isinstance(error, MemoryError):
        return 2, f"error: not enough memory: {error}; free some, or give fewer or smaller samples"
    kind = type(error).__name__
    text = f"this is a defect of onnxq: {kind}: {error}; run again with --debug and report it"
    return 2, " ".join(text.split())
