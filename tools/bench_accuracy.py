"""What each accuracy technique wins and costs on real models: an ablation table.

    python tools/bench_accuracy.py --results ablation.jsonl [--models yolox_nano] [--variants plain,equalize]

A variant is a name of ``VARIANTS``, or parts joined by ``+``: passes with options (``equalize{gain=1}``;
those that move scales run behind prepare, those that round behind insert-qdq) and options of insert-qdq
(``method=minmax``, ``weight=int4``, ``per_channel=false``).

Every result is one line of the results file: a run that was stopped goes on there. ``cost`` is the CPU time
of quantization over that of plain inference of the calibration samples.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from zoo_loader import DEFAULT_ZOO, load_zoo

import onnxq
from onnxq.errors import OnnxqError, UsageError
from onnxq.pipeline.presets import quantizing
from onnxq.runtime import Session
from onnxq.targets.target import load_target

VARIANTS: Mapping[str, str] = {
    "plain": "",
    "minmax": "method=minmax",
    "equalize": "equalize",
    "smooth": "smooth",
    "both": "equalize+smooth",
    "bias": "correct-bias",
    "gptq": "round-weights",
    "equalize+bias": "equalize+correct-bias",
    "equalize+gptq": "equalize+round-weights",
    "smooth+gptq": "smooth+round-weights",
    "both+gptq": "equalize+smooth+round-weights",
    "per-tensor": "per_channel=false",
    "per-tensor+equalize": "per_channel=false+equalize{per_channel=false}",
    "per-tensor+equalize+gptq": "per_channel=false+equalize{per_channel=false}+round-weights",
    "w4": "weight=int4",
    "w4+equalize": "weight=int4+equalize",
    "w4+gptq": "weight=int4+round-weights",
    "w4+equalize+gptq": "weight=int4+equalize+round-weights",
}

BEFORE, BEHIND = ("equalize", "smooth"), ("correct-bias", "round-weights")


@dataclass(frozen=True)
class Key:
    """What was asked; two results with one key are the same measurement."""

    model: str
    variant: str
    target: str
    samples: int
    limit: int | None


def pipeline(variant: str, target: str) -> str:
    """The pipeline of a variant: what ``onnxq quantize --scales as-is`` runs, and the parts."""
    parts = [part for part in VARIANTS.get(variant, variant).split("+") if part]
    passes = [part for part in parts if part.partition("{")[0] in BEFORE + BEHIND]
    options = [part for part in parts if part not in passes]
    before = "".join(f"{part}, " for part in passes if part.partition("{")[0] in BEFORE)
    behind = "".join(f", {part}" for part in passes if part.partition("{")[0] in BEHIND)
    text = quantizing(load_target(target), options=" ".join(options) or "method=percentile:99.999")
    head, prepare, rest = text.partition("prepare, ")
    start, insert, rest = rest.partition("insert-qdq{")
    inside, brace, tail = rest.partition("}")
    return f"{head}{prepare}{before}{start}{insert}{inside}{brace}{behind}{tail}"


def measure(entry: Any, key: Key, threads: int) -> dict[str, object]:
    """Quantize, score on the task, and time."""
    samples = list(entry.calibration(key.samples))
    plain = plain_seconds(entry.float_model, samples)
    start = time.process_time()
    made = onnxq.run(entry.float_model, pipeline(key.variant, key.target), samples, target=key.target)
    seconds = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        onnxq.save(made.model, path)
        found = entry.evaluate(path, limit=key.limit, threads=threads)
    wanted = ("metric_name", "metric", "float_metric", "agreement", "sqnr_db", "closed_loop_sqnr_db", "n")
    return {name: found.get(name) for name in wanted} | {"seconds": seconds, "cost": seconds / plain}


def plain_seconds(model: Path, samples: list[Mapping[str, np.ndarray]]) -> float:
    """CPU time of running the float model on all samples."""
    session = Session(model)
    session.run(samples[0])
    start = time.process_time()
    for sample in samples:
        session.run(sample)
    return max(time.process_time() - start, 1e-3)


def read(path: Path) -> dict[Key, dict[str, Any]]:
    """The results so far; a last line cut short by a kill is measured again."""
    found = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[Key(**entry["key"])] = entry["result"]
    return found


def table(results: Mapping[Key, Mapping[str, Any]], keys: list[Key]) -> Iterator[str]:
    yield (
        f"{'model':26} {'variant':26} {'metric':17} {'float':>7} {'int8':>7} {'agree':>6} {'dB':>6} "
        f"{'loop':>6} {'cost':>6}"
    )
    for key in keys:
        found = results.get(key)
        if found is None:
            continue
        if "error" in found:
            yield f"{key.model:26} {key.variant:26} {found['error']}"
            continue
        loop = found["closed_loop_sqnr_db"]
        scores = f"{found['float_metric']:7.4f} {found['metric']:7.4f} {found['agreement']:6.3f}"
        noise = f"{found['sqnr_db']:6.1f} {'' if loop is None else f'{loop:.1f}':>6} {found['cost']:6.1f}"
        yield f"{key.model:26} {key.variant:26} {found['metric_name']:17} {scores} {noise}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure each accuracy technique on real models.")
    parser.add_argument("--zoo", type=Path, default=DEFAULT_ZOO, help="folder of evaluation models")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines; what is there stays")
    parser.add_argument("--models", default="", help="names, separated by commas; default all")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="separated by commas")
    parser.add_argument("--target", default="generic-int8")
    parser.add_argument("--samples", type=int, default=64, help="calibration samples")
    parser.add_argument("--limit", type=int, help="evaluation samples; default all")
    parser.add_argument("--threads", type=int, help="processors to use; default all")
    args = parser.parse_args()
    if args.threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-args.threads :])
    zoo = load_zoo(args.zoo)
    names = args.models.split(",") if args.models else zoo.names()
    keys = [
        Key(name, variant, args.target, args.samples, args.limit)
        for name in names
        for variant in args.variants.split(",")
    ]
    results = read(args.results)
    for key in keys:
        if key in results:
            continue
        try:
            results[key] = measure(zoo.load(key.model), key, args.threads or 2)
        except UsageError as error:
            raise SystemExit(f"variant '{key.variant}': {error}") from error
        except OnnxqError as error:
            results[key] = {"error": str(error).splitlines()[0]}
        with args.results.open("a") as file:
            file.write(json.dumps({"key": asdict(key), "result": results[key]}) + "\n")
        print(*list(table(results, [key]))[1:], flush=True)
    print("\n".join(table(results, keys)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
