"""Run quantized and strict integer models in other runtimes and compare codes with ONNX Runtime's.

    python tools/try_runtimes.py [--only iree openvino] [--forms qdq int24] [--models resnet8_cifar10]
    python tools/try_runtimes.py MODEL.onnx … --only iree

Without models: the embedded networks of digits, and evaluation models where a folder of them is (``--zoo``),
quantized here, in each form that a runtime is promised, on real samples; given models run as they are, on
random numbers. The measure is the installed ONNX Runtime, all optimisations off. Strict integers must be
equal bit for bit; of Q/DQ no layer may be more than one code off, given the same codes. docs/runtimes.md

Runtimes of the extra ``runtimes`` are used where they are installed; the others get an environment each in
``--venvs``, made with pip. Exit code 1 if anything differs or fails.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from runtimes.environments import RUNTIMES, Failed, Runtime, interpreter, run
from runtimes.qdq import codes_of, ended_at, last_codes, layers
from runtimes.trials import FORMS, Source, Trial, embedded, given, make, of_zoo
from zoo_loader import load_zoo

from onnxq.errors import OnnxqError
from onnxq.graph.numeric import Array

ROOT = Path(__file__).resolve().parents[1]
ZOO = (
    "resnet8_cifar10",
    "kws_dscnn",
    "mobilenet_v2_tf2",
    "squeezenet11",
    "minilm_l6_v2",
    "magika_v3_3",
    "qonnx_tfc_2w2a",
)


@dataclass(frozen=True)
class Found:
    """How one runtime's codes compare; ``layers`` are of Q/DQ: share of equal codes, and the largest step.

    Where ``merges``, asking for the codes between the layers changed the outcome: the runtime computes two of
    them as one otherwise, and does not round in between.
    """

    equal: float
    largest: int
    labels: str
    integer: str
    layers: tuple[float, int] | None = None
    merges: bool = False

    @property
    def good(self) -> bool:
        return self.largest == 0 if self.layers is None else self.layers[1] <= 1

    def __str__(self) -> str:
        words = f"{_percent(self.equal)} {self.largest:4} {self.labels:>6} {self.integer:>6}"
        if self.layers is not None:
            words += f" {_percent(self.layers[0])} {self.layers[1]:3}"
        notes = ["merges layers"] * self.merges + ["WRONG"] * (not self.good)
        return f"{words:45} {', '.join(notes)}".rstrip()


def _percent(share: float) -> str:
    """A share that is not whole never reads as 100 %."""
    return f"{100 * share if share == 1 else min(100 * share, 99.9999):8.4f} %"


def compare(found: Sequence[Array], expected: Sequence[Array], classifies: bool) -> tuple[float, int, str]:
    """Share of equal codes, the largest difference, and how many samples keep their label."""
    apart = [np.abs(a.astype(np.int64) - b.astype(np.int64)) for a, b in zip(found, expected, strict=True)]
    equal = float(np.mean(np.concatenate([array.reshape(-1) == 0 for array in apart])))
    labels = "-"
    if classifies:
        mine, theirs = (a[0].reshape(len(a[0]), -1).argmax(axis=1) for a in (found, expected))
        labels = f"{np.count_nonzero(mine == theirs)}/{len(mine)}"
    return equal, max(int(array.max(initial=0)) for array in apart), labels


def judge(runtime: Runtime, python: Path, trial: Trial, folder: Path) -> Found:
    """Run a trial; of Q/DQ a second time, ended at all codes, layer by layer.

    Raises:
        Failed: the runtime cannot run it.
    """
    if trial.form != "qdq":
        found, integer = _run(runtime, python, trial, folder)
        return Found(*compare(found, trial.expected(), trial.classifies), integer)
    ended = _ended(trial, last_codes(trial.model))
    found, integer = _run(runtime, python, ended, folder)
    names = codes_of(trial.model)
    tapped = _ended(trial, names)
    codes, _ = _run(runtime, python, tapped, folder)
    last = [codes[names.index(output.name)] for output in ended.model.graph.output]
    return Found(
        *compare(found, ended.expected(), trial.classifies),
        integer,
        layers(tapped.model, trial.feeds, codes),
        merges=any(not np.array_equal(a, b) for a, b in zip(found, last, strict=True)),
    )


def _ended(trial: Trial, names: Sequence[str]) -> Trial:
    model = ended_at(trial.model, names)
    feeds = {value.name: trial.feeds[value.name] for value in model.graph.input}
    return Trial(trial.name, trial.form, model, feeds, trial.classifies)


def _run(runtime: Runtime, python: Path, trial: Trial, folder: Path) -> tuple[list[Array], str]:
    model, inputs, outputs = (folder / name for name in ("model.onnx", "inputs.npz", "outputs.npz"))
    onnx.save(trial.model, model)
    np.savez(inputs, **trial.feeds)  # type: ignore[arg-type]
    found, integer = run(runtime, python, model, inputs, outputs)
    types = [
        onnx.helper.tensor_dtype_to_np_dtype(o.type.tensor_type.elem_type) for o in trial.model.graph.output
    ]
    pairs = zip(found, types, strict=True)  # IREE gives bytes without a sign
    return [array if array.dtype == dtype else array.view(dtype) for array, dtype in pairs], integer


def sources(args: argparse.Namespace) -> Iterator[Source]:
    """The models to quantize: embedded ones and those of the zoo, or those that are named."""
    wanted = args.models
    yield from (source for source in embedded(args.samples) if not wanted or source.name in wanted)
    zoo = load_zoo(args.zoo) if (args.zoo / "zoo.py").is_file() else None
    if zoo is None:
        print(f"no evaluation models: {args.zoo / 'zoo.py'} does not exist; give --zoo FOLDER", flush=True)
        return
    for name in wanted or ZOO:
        if name in zoo.names():
            yield of_zoo(zoo, name, args.samples)


def trials(args: argparse.Namespace, runtime: Runtime, models: Sequence[Source]) -> Iterator[Trial]:
    """What a runtime is tried on; forms that a model has not are said."""
    yield from (given(path, args.samples) for path in args.files)
    for source in models:
        for form in (form for form in runtime.forms if form in args.forms):
            try:
                yield make(source, form, args.target or runtime.target)
            except OnnxqError as error:
                reason = next((line for line in str(error).splitlines()[1:]), str(error))
                print(f"{runtime.name:18} {source.name:17} {form:8} has no such form: {reason.strip()[:140]}")


def verdict(runtime: Runtime, python: Path, trial: Trial, folder: Path) -> tuple[bool, str]:
    """Whether a runtime did what it promises, and the words for it."""
    if lacking := runtime.lacks & {node.op_type for node in trial.model.graph.node}:
        return True, f"has no {', '.join(sorted(lacking))}"
    try:
        found = judge(runtime, python, trial, folder)
    except Failed as error:
        return False, f"fails: {str(error)[:300]}"
    return found.good, str(found)


def main(arguments: Sequence[str] | None = None) -> int:
    names = [runtime.name for runtime in RUNTIMES]
    parser = argparse.ArgumentParser(description="Compare models code by code across runtimes.")
    parser.add_argument("files", nargs="*", type=Path, help="models that run as they are")
    parser.add_argument("--only", nargs="*", choices=names, default=names, help="runtimes")
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS)
    parser.add_argument("--models", nargs="*", default=[], help="names of embedded or evaluation models")
    parser.add_argument("--target", help="of Q/DQ; by default the runtime's own")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--zoo", type=Path, default=ROOT.parent / "shared" / "zoo")
    parser.add_argument("--venvs", type=Path, default=ROOT / "build" / "runtimes")
    args = parser.parse_args(arguments)
    models = [] if args.files else list(sources(args))
    wrong = 0
    print(f"{'runtime':18} {'model':17} {'form':8} codes equal  off labels on int layers equal  off")
    with tempfile.TemporaryDirectory() as name:
        for runtime in (runtime for runtime in RUNTIMES if runtime.name in args.only):
            python = interpreter(runtime, args.venvs)
            for trial in trials(args, runtime, models):
                good, says = verdict(runtime, python, trial, Path(name))
                wrong += not good
                print(f"{runtime.name:18} {trial.name:17} {trial.form:8} {says}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
