"""How fast quantized models run on ONNX Runtime here, and how good they are: onnxq and its peers.

    python tools/bench_inference.py [--models minilm_l6_v2,…] [--rounds 60] [--samples 32]

Per model the float file, onnxq's for ``--target``, and those of onnxruntime.quantization and onnxsim. The
sessions of all live in one process and take turns, so that what else the machine does hits all alike. A time
is the median over the rounds, ``x float`` the median over rounds of float's time divided by it; with one
thread (the default) it is CPU time, which waiting for a busy core does not lengthen. Coverage is
what ONNX Runtime computes on integers, as ``onnxq explain`` tells, by nodes and by multiply-accumulates.
Needs a folder of evaluation models (``--zoo``); two more are generated. Ends with geometric means.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from statistics import geometric_mean, median
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime as ort
from contestants import CONTESTANTS
from generated_models import load, require
from zoo_loader import Entry, Feeds, add_zoo_option

from onnxq import model_io
from onnxq.evaluate.explain import explain
from onnxq.targets.target import Target, load_target

MODELS = (
    "squeezenet11,mobilenet_v2_tf2,resnet8_cifar10,kws_dscnn,yolox_nano,ultraface_rfb_320,ppocr_v3_det,"
    "minilm_l6_v2,resnet50_shape,bert_base_shape"
)
LARGE_MS = 1.0
"""Models whose float form takes longer count as larger ones."""
BURST_MS = 2.0
"""How long a file runs at a stretch: shorter than the time slices that other processes take away."""
HEAD = (
    f"{'model':20} {'quantizer':12} {'ms':>8} {'x float':>8} {'MB':>7} {'metric':>17} {'score':>8} "
    f"{'nodes':>7} {'MACs':>7}"
)


@dataclass(frozen=True)
class Row:
    """One model file: its time, the time of float divided by it, size, score and coverage."""

    model: str
    quantizer: str
    milliseconds: float
    speedup: float
    megabytes: float
    metric: str
    score: float
    nodes: float
    macs: float

    def __str__(self) -> str:
        speed = f"{self.milliseconds:8.3f} {self.speedup:8.2f} {self.megabytes:7.2f}"
        shares = f"{100 * self.nodes:6.1f}% {100 * self.macs:6.1f}%"
        return f"{self.model:20} {self.quantizer:12} {speed} {self.metric:>17} {self.score:8.4f} {shares}"


def quantized(entry: Entry, args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """The model files by quantizer, the float one first; a peer's failure is printed, ours is an error."""
    samples = list(entry.calibration(args.samples))
    files = {"float": Path(entry.float_model)}
    for name in args.quantizers.split(","):
        path = folder / f"{entry.name}.{name}.onnx"
        if name == "onnxq" or not path.is_file():
            try:
                CONTESTANTS[name](entry, samples, args.target, path)
            except Exception as error:  # whatever a peer raises
                if name == "onnxq":
                    raise
                first = (str(error).splitlines() or [""])[0]
                print(
                    f"{entry.name:20} {name:12} does not run: {type(error).__name__}: {first[:120]}",
                    flush=True,
                )
                continue
        files[name] = path
    return files


def times(files: Mapping[str, Path], sample: Feeds, rounds: int, threads: int) -> dict[str, list[float]]:
    """Milliseconds of one inference, per file and round; small models run several times a round."""
    sessions = {name: _session(path, threads) for name, path in files.items()}
    feeds = {name: _fed(session, sample) for name, session in sessions.items()}
    once = {name: min(_timed(sessions[name], feeds[name], 1) for _ in range(3)) for name in files}
    found: dict[str, list[float]] = {name: [] for name in files}
    names = list(files)
    for turn in range(rounds):
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            found[name].append(_timed(sessions[name], feeds[name], max(1, round(BURST_MS / once[name]))))
    return found


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _fed(session: ort.InferenceSession, sample: Feeds) -> Feeds:
    """The sample under the session's names: some quantizers drop inputs that nobody reads."""
    return {entry.name: sample[entry.name] for entry in session.get_inputs()}


def _timed(session: ort.InferenceSession, feeds: Feeds, count: int) -> float:
    clock = time.thread_time if session.get_session_options().intra_op_num_threads == 1 else time.perf_counter
    start = clock()
    for _ in range(count):
        session.run(None, feeds)
    return 1000 * (clock() - start) / count


def rows(entry: Entry, target: Target, args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Measure one model in all its forms."""
    files = quantized(entry, args, folder)
    sample = next(iter(entry.calibration(1)))
    measured = times(files, sample, args.rounds, args.threads)
    for name, path in files.items():
        ratios = [base / own for base, own in zip(measured["float"], measured[name], strict=True)]
        score: dict[str, Any] = {"metric_name": "", "metric": nan}
        if args.limit:
            score = entry.evaluate(path, limit=args.limit, threads=args.threads)
        shown = explain(model_io.load(path), target)
        yield Row(
            entry.name,
            name,
            median(measured[name]),
            median(ratios),
            os.path.getsize(path) / 1e6,
            score["metric_name"],
            score["metric"],
            shown.integer_share,
            shown.mac_share,
        )


def summary(found: Sequence[Row]) -> Iterator[str]:
    """Geometric means: each quantizer against float, onnxq against each peer on the models both can do."""
    by_name = {(row.model, row.quantizer): row for row in found}
    large = {row.model for row in found if row.quantizer == "float" and row.milliseconds >= LARGE_MS}
    for quantizer in dict.fromkeys(row.quantizer for row in found if row.quantizer != "float"):
        own = [row for row in found if row.quantizer == quantizer]
        yield f"{quantizer:12} against float {_mean(r.speedup for r in own)} on {len(own)} models" + (
            f", {_mean(r.speedup for r in own if r.model in large)} where float takes {LARGE_MS:g} ms or more"
        )
        if quantizer != "onnxq" and any((r.model, "onnxq") in by_name for r in own):
            gains = [by_name[r.model, "onnxq"].speedup / r.speedup for r in own]
            yield f"onnxq        against {quantizer} {_mean(gains)}, worst {min(gains, default=inf):.2f} x"


def _mean(ratios: Iterator[float] | Sequence[float]) -> str:
    listed = list(ratios)
    return f"{geometric_mean(listed):.2f} x" if listed else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description="Inference time of quantized models on ONNX Runtime.")
    add_zoo_option(parser)
    parser.add_argument("--models", default=MODELS, help="names, separated by commas")
    parser.add_argument("--quantizers", default=",".join(CONTESTANTS), help="names, separated by commas")
    parser.add_argument("--target", default="ort-x86-vnni", help="onnxq's target")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of taking turns")
    parser.add_argument("--samples", type=int, default=32, help="calibration samples")
    parser.add_argument("--limit", type=int, default=100, help="evaluation samples; 0 for no scores")
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime")
    parser.add_argument("--keep", type=Path, help="folder of models: peers' that are there are taken again")
    args = parser.parse_args()
    ort.set_default_logger_severity(3)
    names = args.models.split(",")
    require(names, args.zoo)
    found: list[Row] = []
    print(HEAD)
    with TemporaryDirectory(prefix="onnxq-") as scratch:
        folder = args.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            for row in rows(load(name, args.zoo, folder), load_target(args.target), args, folder):
                found.append(row)
                print(row, flush=True)
    for line in summary(found):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
