"""Every target with every evaluation model: does it go through, keep the rules, run, and how well?

    python tools/bench_targets.py [--targets tidl,…] [--models resnet8_cifar10,…] [--samples 16] [--limit 100]

Each model is quantized for each target (with fixed shapes where the target wants them), checked by
onnx.checker, run by ONNX Runtime on its evaluation data, held against the target's rules, and explained. For
targets of ONNX Runtime's CPU provider the explanation is compared with what ONNX Runtime makes of it.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from zoo_loader import Entry, Feeds, add_zoo_option, load_zoo

import onnxq
from onnxq import api, model_io
from onnxq.errors import OnnxqError
from onnxq.evaluate.explain import explain
from onnxq.evaluate.fusion.dump import agreement
from onnxq.graph.numeric import Array
from onnxq.targets.rules import check_rules
from onnxq.targets.target import Target, load_target, target_names

LONGEST = 128
HEAD = (
    f"{'target':13} {'model':27} {'metric':18} {'float':>8} {'quant':>8} {'dB':>6} {'integer':>8} "
    f"{'MACs':>7}  {'breaches':>8}  agreement"
)


@dataclass(frozen=True)
class Row:
    """One target and model."""

    target: str
    model: str
    metric: str
    float_score: float
    score: float
    sqnr_db: float
    integer: float
    macs: float
    breaches: list[str]
    agreed: tuple[int, int] | None

    def __str__(self) -> str:
        scores = f"{self.float_score:8.4f} {self.score:8.4f} {self.sqnr_db:6.1f}"
        shares = f"{100 * self.integer:7.1f}% {100 * self.macs:6.1f}%"
        agreed = "-" if self.agreed is None else f"{self.agreed[0]}/{self.agreed[1]}"
        breaches = f"{len(self.breaches):8}" + (
            f" ({', '.join(sorted(set(self.breaches)))})" if self.breaches else ""
        )
        return f"{self.target:13} {self.model:27} {self.metric:18} {scores} {shares}  {breaches}  {agreed}"


def padded(sample: Feeds, samples: list[Feeds]) -> dict[str, Array]:
    """A sample with zeros behind it, where the axes of the samples differ: all get the length 128."""
    made = {}
    for name, array in sample.items():
        if not array.ndim:
            made[name] = array
            continue
        lengths = zip(*(other[name].shape for other in samples), strict=True)
        shape = [
            here if len(set(axis)) == 1 else LONGEST for here, axis in zip(array.shape, lengths, strict=True)
        ]
        cut = array[tuple(slice(0, length) for length in shape)]
        made[name] = np.pad(cut, [(0, length - here) for here, length in zip(cut.shape, shape, strict=True)])
    return made


def score(entry: Entry, target: Target, args: argparse.Namespace) -> Row:
    """Quantize one model for one target, and judge the result."""
    samples = list(entry.calibration(args.samples))
    source: Any = entry.float_model
    if target.static_shapes:
        samples = [padded(sample, samples) for sample in samples]
        source = api.run(source, "fix-shapes", samples[:1], target=target).model
    made = onnxq.quantize(source, samples, target=target, form=args.form, proof=0)
    with tempfile.TemporaryDirectory() as folder:
        path = (args.keep or Path(folder)) / f"{entry.name}.{target.name}.onnx"
        made.save(path)
        model = model_io.load(path)
        model_io.check(model)
        found = entry.evaluate(path, limit=args.limit, optimize=not args.as_written)
        breaches = [finding.rule for finding in check_rules(model, target)]
        explained = explain(model, target)
        agreed = agreement(model, target) if target.engine == "onnxruntime-cpu" else None
    return Row(
        target.name,
        entry.name,
        found["metric_name"],
        found["float_metric"],
        found["metric"],
        found["sqnr_db"],
        explained.integer_share,
        explained.mac_share,
        breaches,
        agreed,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Every target with every evaluation model.")
    add_zoo_option(parser)
    parser.add_argument(
        "--targets", default="", help="names, separated by commas; default all of the Q/DQ form"
    )
    parser.add_argument("--models", default="", help="names, separated by commas; default all")
    parser.add_argument("--form", choices=["qdq"], default="qdq")
    parser.add_argument("--samples", type=int, default=16, help="calibration samples")
    parser.add_argument("--limit", type=int, default=100, help="evaluation samples")
    parser.add_argument("--as-written", action="store_true", help="no graph optimization in ONNX Runtime")
    parser.add_argument("--keep", type=Path, help="folder in which the quantized models stay")
    args = parser.parse_args()
    zoo = load_zoo(args.zoo)
    names = args.targets.split(",") if args.targets else [n for n in target_names() if n != "integer"]
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    print(HEAD)
    failed = False
    for model in args.models.split(",") if args.models else zoo.names():
        for target in map(load_target, names):
            try:
                row = score(zoo.load(model), target, args)
            except OnnxqError as error:
                failed = True
                print(f"{target.name:13} {model:27} {str(error).splitlines()[0]}", flush=True)
                continue
            failed |= bool(row.breaches)
            print(row, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
