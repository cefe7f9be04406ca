"""Strict integers of every evaluation model beside its Q/DQ form: metric, codes, proof, time.

    python tools/bench_strict.py [--models resnet8_cifar10 …] [--samples 64] [--limit 40] [--threads 1]

Each model is quantized for the target ``integer`` in the form Q/DQ, and that graph is lowered in the dialect
``fast``; sentences get a fixed length of 64. The table has, row by row as they are measured:

- the task's metric: float, Q/DQ computed as it is written, Q/DQ in ONNX Runtime's fused kernels, strict; and
  the signal-to-noise ratio of the last three to float, which hangs less on single samples;
- float tensors and nodes of the strict model;
- output codes that are equal to those of the Q/DQ graph as written, and the largest difference: of strict,
  and of the same Q/DQ graph in fused kernels, which is what other roundings of float32 make of it;
- the same layer by layer, each layer given the same codes;
- samples on which ONNX Runtime and onnx.reference give the same bits;
- time, as the median of the ratios to float and to fused Q/DQ.

Exit code 1 if a model is refused, keeps a float tensor, differs from onnx.reference, or has a layer that is
more than one code off.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
from bench_integer import CLOCKS, measure
from runtimes.trials import Source, of_zoo, quantized
from strict_codes import Agreement, by_layer, equals_reference, outputs
from zoo_loader import add_zoo_option, load_zoo

from onnxq import model_io
from onnxq.evaluate.integer_only import float_tensors
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

HEAD = (
    "model",
    "metric",
    "float",
    "Q/DQ",
    "fused",
    "strict",
    "SQNR, dB",
    "float tensors",
    "nodes",
    "codes equal, off by",
    "in fused Q/DQ",
    "by layer",
    "= reference",
    "× float",
    "× fused",
)
LAYER_SAMPLES = 3
"""Every code of so many samples is held in memory at once."""


@dataclass(frozen=True)
class Row:
    """One model: ``metrics`` of float, Q/DQ as written, Q/DQ fused, strict; ``times`` to float and fused.

    ``sqnr`` in dB is that of the outputs to the float model's: of Q/DQ as written, fused, and strict.
    """

    name: str
    metric: str
    metrics: Sequence[float]
    sqnr: Sequence[float]
    floats: int
    nodes: int
    codes: Agreement
    fused: Agreement
    layers: Agreement
    count: int
    reference: Sequence[bool]
    times: Sequence[float]

    @property
    def good(self) -> bool:
        return not self.floats and all(self.reference) and self.layers.largest <= 1

    def __str__(self) -> str:
        return _line(
            self.name,
            self.metric,
            *(f"{score:.4f}" for score in self.metrics),
            ", ".join(f"{decibel:.1f}" for decibel in self.sqnr),
            self.floats,
            self.nodes,
            self.codes,
            self.fused,
            f"{self.layers} of {self.count}",
            f"{sum(self.reference)}/{len(self.reference)}",
            *(f"{ratio:.2f}" for ratio in self.times),
        )


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def lowered(source: Source, folder: Path) -> dict[str, Path]:
    """Files of the forms: float as it came, Q/DQ, and strict, which is lowered from it."""
    qdq = quantized(source, "integer")
    strict = run_pipeline(qdq.clone(), parse("lower"), Context()).model
    paths = {"float": source.model} | {
        form: folder / f"{source.name}.{form}.onnx" for form in ("qdq", "strict")
    }
    model_io.save(qdq, paths["qdq"])
    model_io.save(strict, paths["strict"])
    return paths


def score(zoo: ModuleType, name: str, args: argparse.Namespace, folder: Path) -> Row:
    """Make the forms of one model and measure them."""
    source = of_zoo(zoo, name, args.compared, args.samples)
    entry, paths, samples = zoo.load(name), lowered(source, folder), source.samples
    qdq, strict = (onnx.load(paths[form]) for form in ("qdq", "strict"))
    written, fused = (Session(qdq, optimize=optimize, threads=args.threads) for optimize in (False, True))
    integer = Session(strict, threads=args.threads)
    layers, count = by_layer(qdq, strict, samples[:LAYER_SAMPLES])
    runs = [("qdq", False), ("qdq", True), ("strict", True)]
    scores = [
        entry.evaluate(paths[form], threads=args.threads, limit=args.limit, optimize=optimize)
        for form, optimize in runs
    ]
    times = measure(paths, samples[0], args.threads, args.rounds, CLOCKS[args.clock])
    return Row(
        name,
        scores[0]["metric_name"],
        [scores[0]["float_metric"], *(found["metric"] for found in scores)],
        [found["sqnr_db"] for found in scores],
        len(float_tensors(model_io.load(paths["strict"]))),
        len(strict.graph.node),
        outputs(written, integer, integer, samples),
        outputs(written, integer, fused, samples),
        layers,
        count,
        list(equals_reference(strict, samples[: args.reference_samples])),
        [float(np.median(times["strict"] / times[other])) for other in ("float", "qdq")],
    )


def reason(error: Exception) -> str:
    """An error in one line: what it is and its first particular."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Strict integers of every evaluation model beside Q/DQ.")
    add_zoo_option(parser)
    parser.add_argument("--models", nargs="*", help="names; default all")
    parser.add_argument("--samples", type=int, default=64, help="calibration samples")
    parser.add_argument("--limit", type=int, help="evaluation samples for the metric; default all")
    parser.add_argument("--compared", type=int, default=16, help="samples whose output codes are compared")
    parser.add_argument("--reference-samples", type=int, default=1, help="samples for onnx.reference; slow")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15, help="runs that the time is the median of")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: where others use the machine")
    parser.add_argument("--keep", type=Path, help="folder in which the models stay")
    args = parser.parse_args(arguments)
    zoo = load_zoo(args.zoo)
    print(_line(*HEAD))
    print(_line(*["---"] * 2, *["---:"] * (len(HEAD) - 2)), flush=True)
    good = True
    for name in args.models or zoo.names():
        with tempfile.TemporaryDirectory() as folder:
            home = args.keep or Path(folder)
            home.mkdir(parents=True, exist_ok=True)
            try:
                row = score(zoo, name, args, home)
            except Exception as error:  # whatever stops one model, the rows of the others are wanted
                good = False
                print(f"| {name} | {reason(error)} |", flush=True)
                continue
            good &= row.good
            print(row, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
