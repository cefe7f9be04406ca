"""Seconds of the prepare preset on generated graphs, and how they grow with the number of nodes.

    python tools/bench_passes.py [--nodes 10000,20000,40000]

The graph repeats a block of Conv, BatchNormalization, a decomposed HardSwish or SiLU, a residual Add and
some no-ops, each with weights of its own, so that every pass finds work. Linear growth means a ratio near
the ratio of the node counts.
"""

import argparse
import time

import numpy as np
import onnx
import onnx_ir as ir

from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import RunReport, run_pipeline
from onnxq.pipeline.spec import parse

CHANNELS = 8


def model(nodes: int) -> ir.Model:
    """A chain of about ``nodes`` nodes."""
    make, rng = onnx.helper.make_node, np.random.default_rng(0)
    made: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def weight(name: str, *shape: int) -> str:
        array = rng.uniform(0.5, 1.5, shape).astype(np.float32) / CHANNELS
        weights.append(onnx.numpy_helper.from_array(array, name))
        return name

    x, block = "x", 0
    while len(made) < nodes:
        p, c = f"b{block}_", CHANNELS
        statistics = [weight(f"{p}{name}", c) for name in ("gamma", "beta", "mean", "var")]
        made += [
            make("Conv", [x, weight(f"{p}w", c, c, 1, 1)], [f"{p}c"], kernel_shape=[1, 1]),
            make("BatchNormalization", [f"{p}c", *statistics], [f"{p}n"]),
            make("Sigmoid", [f"{p}n"], [f"{p}s"]),
            make("Mul", [f"{p}n", f"{p}s"], [f"{p}g"]),
            make("Identity", [f"{p}g"], [f"{p}i"]),
            make("Dropout", [f"{p}i"], [f"{p}d"]),
            make("Transpose", [f"{p}d"], [f"{p}t"], perm=[0, 1, 2, 3]),
            make("Add", [f"{p}t", x], [f"{p}y"]),
        ]
        x, block = f"{p}y", block + 1
    shape: list[str | int | None] = ["N", CHANNELS, 4, 4]
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", x)]
    graph = onnx.helper.make_graph(made, "chain", ports[:1], ports[1:], weights)
    opset = [onnx.helper.make_opsetid("", 17)]
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8))


def measure(nodes: int, text: str) -> tuple[float, RunReport]:
    built, pipeline = model(nodes), parse(text)
    start = time.perf_counter()
    report = run_pipeline(built, pipeline, Context())
    return time.perf_counter() - start, report


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the pass manager on generated graphs.")
    parser.add_argument("--nodes", default="10000,20000,40000", help="node counts, separated by commas")
    parser.add_argument("--pipeline", default="prepare", help="the pipeline to time")
    args = parser.parse_args()
    counts = [int(count) for count in args.nodes.split(",")]
    runs = [measure(count, args.pipeline) for count in counts]
    (base, _), first = runs[0], counts[0]
    for count, (seconds, report) in zip(counts, runs, strict=True):
        left = len(report.model.graph)
        growth = f"{seconds / base:.2f} x the time for {count / first:g} x the nodes"
        print(f"{count:6} nodes -> {left:6}: {seconds:6.2f} s  {growth}")
    print("slowest steps, seconds at each size:")
    slowest = sorted(zip(*(report.steps for _, report in runs), strict=True), key=lambda s: -s[-1].seconds)
    for steps in slowest[:8]:
        print(f"  {steps[0].text:28}", *(f"{step.seconds:7.2f}" for step in steps))


if __name__ == "__main__":
    main()
