"""What a search makes as large as it can: SQNR, a Python function, or a command that prints a number.

A metric that raises, ends with an error, prints no number or gives NaN fails for that model, and the search
goes on with the others. If it fails for the float model and for the first candidate, the search ends at once.
One that takes longer than the search has left is interrupted; a function where the system can do that: on the
main thread, not on Windows.
"""

import importlib.util
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Protocol, TypeAlias, cast

import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.errors import OnnxqError, UsageError
from onnxq.evaluate.compare import compare
from onnxq.search.memo import OutOfTimeError

__all__ = ["Command", "Function", "Metric", "MetricError", "MetricLike", "Sqnr", "open_metric"]

TIMEOUT = 600.0
"""Seconds that a command may take for one model."""

_NUMBER = re.compile(
    r"(?<![\w./\\-])[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?![\d/\\]|\.\w)|(?:nan|inf(?:inity)?)\b)",
    re.IGNORECASE,
)
"""A number that is no part of a word or of a path."""

_SHOWN = 200

_IN_FILE = re.compile(r"(?P<file>[^{}]+\.py):(?P<name>[A-Za-z_]\w*)")


class MetricError(OnnxqError):
    """A metric could not be computed for one model; the search goes on with the others."""


class Metric(Protocol):
    """A number for a model file: the larger, the better."""

    @property
    def name(self) -> str:
        """What it is called; results are resumed under the same name only."""
        ...

    def __call__(self, path: Path, seconds: float = inf) -> float:
        """The number, which is finite; ``seconds`` are what the search has left.

        Raises:
            MetricError: there is none; says why.
            OutOfTimeError: it would have taken longer.
        """
        ...


MetricLike: TypeAlias = str | Callable[[Path], float]


@dataclass(frozen=True)
class Sqnr:
    """SQNR in dB of the worst output against the float model, on samples that were not calibrated on."""

    reference: ir.Model
    samples: Samples
    name: str = "SQNR dB"

    def __call__(self, path: Path, seconds: float = inf) -> float:
        found = compare(self.reference, path, self.samples)
        # a model that differs nowhere is as good as float32 gets
        return _finite(min(min(output.sqnr_db for output in found.outputs), 200.0), "SQNR")


@dataclass(frozen=True)
class Function:
    """A Python function of the model's path."""

    function: Callable[[Path], float]

    @property
    def name(self) -> str:
        kind = self.function
        module, name = getattr(kind, "__module__", ""), getattr(kind, "__qualname__", type(kind).__qualname__)
        return f"{module}.{name}"

    def __call__(self, path: Path, seconds: float = inf) -> float:
        try:
            with _interrupted_after(seconds):
                value = float(self.function(path))
        except _Alarm as error:
            raise OutOfTimeError("the metric took longer than there was time") from error
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise MetricError(f"the metric raised {type(error).__name__}: {_short(str(error))}") from error
        return _finite(value, "the metric")


@dataclass(frozen=True)
class Command:
    """A program, run without a shell, that prints the number; the last number of its output counts.

    ``{model}`` in an argument is replaced by the model's path.
    """

    words: Sequence[str]
    timeout: float = TIMEOUT

    @property
    def name(self) -> str:
        return shlex.join(self.words)

    def __call__(self, path: Path, seconds: float = inf) -> float:
        words = [word.replace("{model}", str(path)) for word in self.words]
        timeout = max(min(self.timeout, seconds), 0.0)
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            if seconds < self.timeout:
                raise OutOfTimeError("the metric command took longer than there was time") from error
            raise MetricError(f"the metric command took longer than {self.timeout:g} s") from error
        except OSError as error:
            raise MetricError(f"the metric command '{words[0]}' cannot be run: {error.strerror}") from error
        if done.returncode:
            said = _short(done.stderr or done.stdout) or "it said nothing"
            raise MetricError(f"the metric command ended with exit code {done.returncode}: {said}")
        if not (numbers := _NUMBER.findall(done.stdout)):
            raise MetricError(f"the metric command printed no number: {_short(done.stdout) or 'nothing'}")
        return _finite(float(numbers[-1]), "the metric command")


def open_metric(metric: MetricLike | None, timeout: float = TIMEOUT) -> Function | Command | None:
    """The metric that a user means: ``FILE.py:NAME`` is a function; None for none or ``SQNR``.

    Any other text is a command.

    Raises:
        UsageError: the file or the function is not there or cannot be loaded; or the command is no program
            here, cannot be split into words or does not name ``{model}``.
    """
    if metric is None or (isinstance(metric, str) and metric.strip().lower() == "sqnr"):
        return None
    if not isinstance(metric, str):
        return Function(metric)
    if (named := _IN_FILE.fullmatch(metric.strip())) is not None:
        return Function(_load(Path(named["file"]), named["name"]))
    try:
        words = shlex.split(metric)
    except ValueError as error:
        raise UsageError(f"cannot read the metric command: {error}: {metric}") from error
    if not any("{model}" in word for word in words):
        raise UsageError(
            f"the metric '{metric}' is neither SQNR nor FILE.py:FUNCTION nor a command with {{model}} in it, "
            "such as 'python evaluate.py {model}'"
        )
    if shutil.which(words[0]) is None:
        raise UsageError(f"the metric command '{words[0]}' is no program that can be run here")
    return Command(tuple(words), timeout)


def _load(path: Path, name: str) -> Callable[[Path], float]:
    """A function of a Python file, which is run for it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"there is no Python file '{path}' for the metric")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(
            f"the metric's file '{path}' raised {type(error).__name__}: {_short(str(error))}"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise UsageError(f"'{path}' has no function '{name}' for the metric")
    return cast("Callable[[Path], float]", found)


class _Alarm(BaseException):
    """The time is over; no ``except Exception`` of the user's code takes it for one of its own."""


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """Raise _Alarm in the block when it has run for so long."""
    if not (isfinite(seconds) and hasattr(signal, "setitimer") and current_thread() is main_thread()):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _finite(value: float, what: str) -> float:
    if not isfinite(value):
        raise MetricError(f"{what} is {value}, which cannot be compared; it must be a finite number")
    return value


def _short(text: str) -> str:
    """The end of a text in one line: what a program says last is why it failed."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"…{line[-_SHOWN:]}"
