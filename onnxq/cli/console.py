"""Where a command prints: results to stdout, the rest to stderr; colours and bars on a terminal only."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from onnxq.report.table import Table, clean

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress", "complain", "finish", "progress", "result", "tolerate_any_encoding", "warn"]

Progress = Callable[[str, int, int], None]


def result(*parts: str | Table) -> None:
    """Print texts and tables to stdout."""
    for part in parts:
        try:
            _print(part, sys.stdout)
        except BrokenPipeError:
            _forget_stdout()


def complain(text: str) -> None:
    """Print an error to stderr, behind ``onnxq: ``."""
    _to_stderr(text, "bold red")


def warn(text: str) -> None:
    """Print a warning to stderr."""
    _to_stderr(f"warning: {text}", "bold yellow")


@contextmanager
def progress() -> Iterator[Progress]:
    """A function to report progress with: a bar on a terminal, nothing elsewhere."""
    if not _is_terminal(sys.stderr):
        yield lambda what, done, total: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Rate(ProgressColumn):
        """Samples, trials or layers a second, once there is a speed to tell."""

        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f}/s")

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    ]
    with Bars(*columns, console=_console(sys.stderr), transient=True) as bars:
        tasks = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(clean(what))
            bars.update(tasks[what], completed=done, total=total)

        yield report


def tolerate_any_encoding() -> None:
    """A terminal that knows no ``→`` gets an escape in its place, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def finish() -> None:
    """Write out what is still buffered, while a closed pipe can still be noticed."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()


def _print(part: str | Table, stream: TextIO) -> None:
    if isinstance(part, Table) and _is_terminal(stream):
        _console(stream).print(part.rich())
        return
    stream.write(f"{part.text() if isinstance(part, Table) else clean(part)}\n")


def _to_stderr(text: str, style: str) -> None:
    if not _is_terminal(sys.stderr):
        sys.stderr.write(f"onnxq: {clean(text)}\n")
        return
    label, colon, rest = clean(text).partition(":")
    console = _console(sys.stderr)
    console.print(f"onnxq: {label}{colon}", style=style, end="", markup=False, highlight=False)
    console.print(rest, soft_wrap=True, markup=False, highlight=False)


def _forget_stdout() -> None:
    """The reader of the pipe has seen enough, as ``head`` has: the work and its exit code go on."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    os.close(silence)


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    return Console(file=stream, highlight=False)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty()
