"""Quantize real models and score them on their tasks, next to the float model.

    python tools/bench_zoo.py [--target T] [--form integer] [--models resnet8_cifar10,…] [--limit 200]

Needs a folder of evaluation models with a ``zoo.py`` that loads them (``--zoo``); each entry gives
calibration samples and scores any ONNX file against its task.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from zoo_loader import Entry, add_zoo_option, load_zoo

import onnxq
from onnxq.errors import OnnxqError


@dataclass(frozen=True)
class Row:
    """One model: its score before and after, and how much of it runs on integers."""

    name: str
    metric: str
    float_score: float
    score: float
    agreement: float
    sqnr_db: float
    nodes: str
    seconds: float

    def __str__(self) -> str:
        scores = f"{self.float_score:8.4f} {self.score:8.4f} {self.agreement:9.4f} {self.sqnr_db:6.1f}"
        return f"{self.name:27} {self.metric:18} {scores}  {self.nodes:>9} {self.seconds:7.1f}"


def score(entry: Entry, args: argparse.Namespace) -> Row:
    """Quantize one model with ``args.samples`` calibration samples and score it on its evaluation data."""
    start = time.perf_counter()
    samples = list(entry.calibration(args.samples))
    result = onnxq.quantize(
        entry.float_model,
        samples,
        target=args.target,
        form=args.form,
        options=args.options,
        shapes="samples" if args.fix_shapes else None,
        proof=0,
    )
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path = (args.keep or Path(folder)) / f"{entry.name}.onnx"
        result.save(path)
        found = entry.evaluate(path, limit=args.limit, optimize=not args.as_written)
    nodes = f"{result.plan.quantized_nodes}/{len(result.plan.nodes)}"
    return Row(
        entry.name,
        found["metric_name"],
        found["float_metric"],
        found["metric"],
        found["agreement"],
        found["sqnr_db"],
        nodes,
        seconds,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Score quantized models on their tasks.")
    add_zoo_option(parser)
    parser.add_argument("--models", default="", help="names, separated by commas; default all")
    parser.add_argument("--target", default="generic-int8")
    parser.add_argument("--form", choices=["qdq", "integer"])
    parser.add_argument("--options", default="", help="options of insert-qdq")
    parser.add_argument("--fix-shapes", action="store_true", help="as in the first sample")
    parser.add_argument("--samples", type=int, default=64, help="calibration samples")
    parser.add_argument("--limit", type=int, help="evaluation samples; default all")
    parser.add_argument("--as-written", action="store_true", help="no graph optimization in ONNX Runtime")
    parser.add_argument("--keep", type=Path, help="folder in which the quantized models stay")
    args = parser.parse_args()
    zoo = load_zoo(args.zoo)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    scores = f"{'float':>8} {'quant':>8} {'agreement':>9} {'dB':>6}"
    print(f"{'model':27} {'metric':18} {scores}  {'integer':>9} {'s':>7}")
    for name in args.models.split(",") if args.models else zoo.names():
        try:
            print(score(zoo.load(name), args), flush=True)
        except OnnxqError as error:
            print(f"{name:27} {str(error).splitlines()[0]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
