"""Calibration against plain inference and against onnxruntime.quantization: seconds and peak memory.

    python tools/bench_calibration.py --models mobilenet_v2_tf2 minilm_l6_v2 --samples 64

Each measurement is a process of its own that first loads at most 64 real samples and then goes through
them as often as needed; contestants take turns, and the best of the rounds counts. Seconds are those of
the samples alone: sessions are open and imports done. Peak memory is that of the whole process.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir
from zoo_loader import Entry, Feeds, add_zoo_option, load_zoo

from onnxq import model_io
from onnxq.calibration.histogram import Histogram
from onnxq.calibration.observe import Options, Sweep
from onnxq.data.samples import Sample
from onnxq.runtime import Session

DISTINCT = 64
ACTIVATIONS = {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"}
PEERS = {"ort-minmax": "MinMax", "ort-entropy": "Entropy", "ort-percentile": "Percentile"}
CONTESTANTS = ["plain", "tapped", "onnxq", *PEERS]


def main() -> None:
    """Print one table per model."""
    arguments = _arguments()
    if arguments.worker:
        print(json.dumps(_measure(arguments)))
        return
    load_zoo(arguments.zoo)
    print(f"{'':18s}{'':16s}{'samples':>8s}{'seconds':>10s}{'× plain':>9s}{'peak MB':>9s}")
    for model in arguments.models:
        _compare(arguments, model, arguments.samples, CONTESTANTS, arguments.rounds)
        for count in arguments.memory:
            _compare(arguments, model, count, ["plain", "onnxq"], 1)


def _compare(arguments: argparse.Namespace, model: str, count: int, names: list[str], rounds: int) -> None:
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name in names:
            seconds, peak = _run(arguments, model, name, count)
            best[name] = min(best.get(name, (np.inf, 0.0)), (seconds, peak))
    for name, (seconds, peak) in best.items():
        ratio = seconds / best["plain"][0]
        text = f"{seconds:10.3f}{ratio:9.2f}{peak:9.0f}" if np.isfinite(seconds) else "    does not finish"
        print(f"{model:18s}{name:16s}{count:8d}{text}", flush=True)


def _run(arguments: argparse.Namespace, model: str, name: str, count: int) -> tuple[float, float]:
    command = [sys.executable, __file__, "--zoo", str(arguments.zoo), "--worker", name]
    command += ["--models", model, "--samples", str(count), "--limit-gb", str(arguments.limit_gb)]
    command += ["--threads", str(arguments.threads), "--workers", str(arguments.workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(f"  {name}: {reason[:120]}", file=sys.stderr)
        return np.inf, 0.0
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return float(result["seconds"]), float(result["peak"])


def _measure(arguments: argparse.Namespace) -> dict[str, float]:
    limit = int(arguments.limit_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    entry: Entry = load_zoo(arguments.zoo).load(arguments.models[0])
    distinct = list(entry.calibration(min(arguments.samples, DISTINCT)))
    path = Path(entry.float_model)
    prepare = _peer if arguments.worker in PEERS else _ours
    work = prepare(arguments, path, distinct)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _ours(arguments: argparse.Namespace, path: Path, distinct: list[Feeds]) -> Callable[[], None]:
    model = model_io.load(path)
    wanted = _wanted(model)
    count, threads = arguments.samples, arguments.threads
    if arguments.worker == "onnxq":
        sweep = Sweep(model, {name: Histogram() for name in wanted}, Options(threads, arguments.workers))
        steps = sweep.run((i, Sample(str(i), feeds)) for i, feeds in enumerate(_cycle(distinct, count + 1)))
        next(steps)  # opens the session
        return lambda: _exhaust(sweep, steps)
    session = Session(model, threads=threads, extra_outputs=wanted if arguments.worker == "tapped" else ())
    session.run(distinct[0])

    def run() -> None:
        for feeds in _cycle(distinct, count):
            session.run(feeds)

    return run


def _exhaust(sweep: Sweep, steps: Iterator[int]) -> None:
    for _ in steps:
        pass
    for statistic in sweep.statistics.values():
        statistic.to_arrays()


def _peer(arguments: argparse.Namespace, path: Path, distinct: list[Feeds]) -> Callable[[], None]:
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.items = _cycle(distinct, arguments.samples)

        def get_next(self) -> Feeds | None:
            return next(self.items, None)

    method = CalibrationMethod[PEERS[arguments.worker]]
    folder = TemporaryDirectory(prefix="onnxq-bench-")
    augmented = str(Path(folder.name) / "augmented.onnx")
    calibrator = create_calibrator(str(path), None, augmented_model_path=augmented, calibrate_method=method)

    def run() -> None:
        calibrator.collect_data(Reader())
        calibrator.compute_data()
        folder.cleanup()

    return run


def _wanted(model: ir.Model) -> list[str]:
    """Every float value but those between an operator and the activation that the runtime fuses into it."""
    names = []
    for node in model.graph:
        for value in node.outputs:
            readers = [use.node.op_type for use in value.uses()]
            fused = (
                node.op_type in ("Conv", "Gemm", "Add") and len(readers) == 1 and readers[0] in ACTIVATIONS
            )
            if value.dtype in (None, ir.DataType.FLOAT) and node.op_type != "Constant" and not fused:
                names.append(value.name or "")
    return names


def _cycle(distinct: list[Feeds], count: int) -> Iterator[Feeds]:
    return (distinct[i % len(distinct)] for i in range(count))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_zoo_option(parser)
    parser.add_argument(
        "--models", nargs="+", default=["mobilenet_v2_tf2", "minilm_l6_v2", "resnet8_cifar10"]
    )
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument(
        "--memory", type=int, nargs="*", default=[64, 512], help="samples to compare peaks at"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="threads of ONNX Runtime in plain and onnxq")
    parser.add_argument("--workers", type=int, default=2, help="threads that count in onnxq")
    parser.add_argument("--limit-gb", type=float, default=12.0, help="memory a measurement may take")
    parser.add_argument("--worker", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
