"""Quantize every model below a folder that nobody here wrote: each must work, or end in one clear message.

    python tools/try_models.py [FOLDER] [--data random:4] [--target generic-int8] [--form integer] [--list]

Without FOLDER: the models that ship inside the onnx package. A quantized model must pass the checker and run
in ONNX Runtime. Anything else that is not a message (a traceback, a crash, a hang, a model that does not
run, a file left behind by a refusal) is a defect; with any of them the exit code is 1. Each model has a
process of its own.
"""

import argparse
import contextlib
import io
import re
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, TypeAlias

Ending: TypeAlias = Literal["quantized", "message", "defect"]

PRELOAD = ["onnxq.api", "onnxq.cli.main", "onnxq.runtime", "onnxsim"]
VARYING = re.compile(r"'[^']*'|\d[\d.,\[\]]*")


@dataclass(frozen=True)
class Trial:
    """How one model ended, and the message or the defect."""

    model: str
    ending: Ending
    text: str = ""

    @property
    def kind(self) -> str:
        """The text without names and numbers, the same for all models that fail alike."""
        return VARYING.sub("…", self.text)


def onnx_models() -> Path:
    """The folder of models inside the onnx package."""
    import onnx

    return Path(onnx.__file__).parent / "backend" / "test" / "data"


def try_folder(folder: Path, options: Sequence[str], seconds: float) -> list[Trial]:
    """Quantize every ``.onnx`` below ``folder`` with the options of ``onnxq quantize``."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    trials: list[Trial] = []
    for path in sorted(folder.rglob("*.onnx")):
        name = str(path.relative_to(folder))
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(path, name, tuple(options), there), daemon=True)
        process.start()
        there.close()
        trials.append(_awaited(here, name, seconds))
        process.kill()
        process.join()
    return trials


def attempt(path: Path, name: str, options: Sequence[str]) -> Trial:
    """Quantize one model through the command line, in this process, and look at what is left behind."""
    from onnxq.cli.main import main

    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "out.onnx"
        error = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
            code = main(["quantize", str(path), "-o", str(output), *options])
        lines = error.getvalue().splitlines()
        said = [line for line in lines if line.startswith("onnxq: error: ")]
        if code == 0:
            return _proven(path, name, output, said)
        if list(Path(scratch).iterdir()):
            return Trial(name, "defect", "a refusal left a file behind")
        text = "\n".join(lines)
        if len(said) != 1 or "defect of" in text or "Traceback" in text:
            return Trial(name, "defect", text)
        return Trial(name, "message", said[0].removeprefix("onnxq: error: ").replace(str(path), "MODEL"))


def _proven(source: Path, name: str, output: Path, said: Sequence[str]) -> Trial:
    """Whether a written model is valid and runs."""
    from onnxq import api, model_io
    from onnxq.errors import OnnxqError
    from onnxq.runtime import Session

    try:
        model = model_io.load(output)
        if _is_valid(source):
            model_io.check(model)
        session = Session(model)
        with warnings.catch_warnings(action="ignore"):
            for sample in api.load_samples(model, "random:2"):
                session.run(sample.feeds)
    except OnnxqError as error:
        return Trial(name, "defect", f"quantized, but {error}")
    return Trial(name, "defect" if said else "quantized", "\n".join(said))


def _is_valid(source: Path) -> bool:
    """Whether a model passed the checker before: ONNX Runtime takes shapes that contradict each other."""
    from onnxq import model_io
    from onnxq.errors import ModelError

    try:
        model_io.check(model_io.load(source))
    except ModelError:
        return False
    return True


def _child(path: Path, name: str, options: Sequence[str], out: Connection) -> None:
    out.send(attempt(path, name, options))


def _awaited(source: Connection, name: str, seconds: float) -> Trial:
    """What a process has to say, if it lives to say it in time."""
    if not source.poll(seconds):
        return Trial(name, "defect", f"no end after {seconds:g} s")
    try:
        trial: Trial = source.recv()
    except EOFError:
        return Trial(name, "defect", "the process crashed")
    return trial


def report(trials: Iterable[Trial], *, each: bool) -> str:
    """Counts of the endings, then every kind of message with an example and its models."""
    trials = list(trials)
    counts = Counter(trial.ending for trial in trials)
    lines = [f"{trial.ending:10} {trial.model}" for trial in trials] if each else []
    lines.append(
        f"{len(trials)} models: {counts['quantized']} quantized, {counts['message']} one clear message, "
        f"{counts['defect']} defects"
    )
    groups: defaultdict[tuple[Ending, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.ending != "quantized":
            groups[trial.ending, trial.kind].append(trial)
    for (ending, _), group in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]))):
        lines += ["", f"{len(group):4} {ending}: {group[0].text}"]
        lines.append(f"     {', '.join(trial.model for trial in group)}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--data", default="random:4")
    parser.add_argument("--target", default="generic-int8")
    parser.add_argument("--form")
    parser.add_argument("--seconds", type=float, default=120.0, help="what one model may take")
    parser.add_argument("--list", action="store_true", help="print every model's ending, too")
    given = parser.parse_args()
    options = ["--data", given.data, "--target", given.target]
    options += ["--form", given.form] if given.form else []
    trials = try_folder(given.folder or onnx_models(), options, given.seconds)
    sys.stdout.write(f"{report(trials, each=given.list)}\n")
    return int(any(trial.ending == "defect" for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
