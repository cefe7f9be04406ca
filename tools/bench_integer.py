"""Time of strict integers on ONNX Runtime, next to the float model and to fused Q/DQ.

    python tools/bench_integer.py [--models resnet18 bert mobilenet_v2_tf2] [--threads 1] [--profile]

``resnet18`` (224 × 224) and ``bert`` (one layer of BERT-base, 128 tokens) are generated with seeded weights;
other names are models of a folder that has a ``zoo.py`` (``--zoo``). Each is quantized for the target
``integer`` and lowered in the dialect ``fast``. The three forms run in turn, one sample each, in one process
with fixed threads; given are medians of milliseconds, and the median of the ratios to float of each turn.
``--profile`` lists where the integer model spends its time, operator by operator.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from zoo_loader import add_zoo_option, load_zoo

import onnxq
from onnxq import model_io
from onnxq.data.codes import convert, read_codes
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse
from onnxq.runtime import Session

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
FORMS = ("float", "qdq", "integer")
Feeds = dict[str, Array]


class Net:
    """A graph that grows node by node, with seeded weights."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.rng, self.nodes = np.random.default_rng(0), list[onnx.NodeProto]()
        self.weights, self.shape = list[onnx.TensorProto](), shape

    def weight(self, *shape: int, scale: float) -> str:
        name = f"w{len(self.weights)}"
        array = self.rng.normal(0, scale, shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def constant(self, array: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def conv(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> str:
        w = self.weight(outputs, inputs, kernel, kernel, scale=(2 / (inputs * kernel**2)) ** 0.5)
        pads, strides = [kernel // 2] * 4, [stride, stride]
        return self.op("Conv", x, w, self.weight(outputs, scale=0.1), pads=pads, strides=strides)

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.op("MatMul", x, self.weight(inputs, outputs, scale=inputs**-0.5))
        return self.op("Add", product, self.weight(outputs, scale=0.1))

    def model(self, output: str) -> onnx.ModelProto:
        x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, self.shape)
        y = helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "bench", [x], [y], self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def resnet18() -> onnx.ModelProto:
    """ResNet-18 (He et al. 2016, arXiv:1512.03385) with its batch norms folded."""
    net = Net((1, 3, 224, 224))
    x = net.op("Relu", net.conv("x", 3, 64, 7, 2))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    width = 64
    for stage, block in ((s, b) for s in range(4) for b in range(2)):
        outputs, stride = 64 << stage, 2 if stage and not block else 1
        branch = net.conv(net.op("Relu", net.conv(x, width, outputs, 3, stride)), outputs, outputs, 3)
        same = stride == 1 and width == outputs
        x = net.op("Relu", net.op("Add", branch, x if same else net.conv(x, width, outputs, 1, stride)))
        width = outputs
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.model(net.op("Gemm", x, net.weight(512, 1000, scale=0.05), net.weight(1000, scale=0.1)))


def bert(tokens: int = 128, width: int = 768, heads: int = 12) -> onnx.ModelProto:
    """One layer of BERT-base (Devlin et al. 2018, arXiv:1810.04805)."""
    net = Net((1, tokens, width))
    split = net.constant(np.asarray([1, tokens, heads, width // heads], np.int64))
    joined = net.constant(np.asarray([1, tokens, width], np.int64))
    query, key, value = (
        net.op("Transpose", net.op("Reshape", net.linear("x", width, width), split), perm=perm)
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    root = net.constant(np.asarray((width / heads) ** -0.5, np.float32))
    weights = net.op("Softmax", net.op("Mul", net.op("MatMul", query, key), root), axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    x = _normed(net, "x", net.linear(net.op("Reshape", mixed, joined), width, width), width)
    inner = net.op("Gelu", net.linear(x, width, 4 * width))
    return net.model(_normed(net, x, net.linear(inner, 4 * width, width), width))


def _normed(net: Net, x: str, branch: str, width: int) -> str:
    gamma, beta = (net.weight(width, scale=1.0) for _ in range(2))
    return net.op("LayerNormalization", net.op("Add", x, branch), gamma, beta)


GENERATED = {"resnet18": resnet18, "bert": bert}


def source(name: str, zoo: Path) -> tuple[onnx.ModelProto | Path, list[Feeds]]:
    """A float model and samples for it."""
    if name not in GENERATED:
        entry = load_zoo(zoo).load(name)
        return Path(entry.float_model), list(entry.calibration(8))
    model = GENERATED[name]()
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(1)
    return model, [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(4)]


def forms(name: str, zoo: Path, folder: Path) -> tuple[dict[str, Path], Feeds]:
    """Files of the three forms, and one sample of floats."""
    model, samples = source(name, zoo)
    paths = {form: folder / f"{name}.{form}.onnx" for form in FORMS}
    onnx.save(model if isinstance(model, onnx.ModelProto) else onnx.load(model), paths["float"])
    made = onnxq.quantize(paths["float"], samples, target="integer", form="qdq", proof=0)
    made.save(paths["qdq"])
    lowered = run_pipeline(made.model.clone(), parse("lower"), Context())
    onnx.save(model_io.to_proto(lowered.model), paths["integer"])
    return paths, samples[0]


def sessions(paths: dict[str, Path], threads: int) -> Iterator[tuple[str, ort.InferenceSession]]:
    for form, path in paths.items():
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        yield form, ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds_of(path: Path, sample: Feeds) -> Feeds:
    """A sample as the model of a file takes it: floats, or codes."""
    session = Session(path, optimize=False)
    return {
        port.name: convert(sample[port.name], port.dtype, read_codes(session.metadata, port.name), port.name)
        if sample[port.name].dtype.kind == "f"
        else sample[port.name]
        for port in session.inputs
    }


def measure(
    paths: dict[str, Path], sample: Feeds, threads: int, rounds: int, clock: Callable[[], float]
) -> dict[str, Array]:
    """Milliseconds of each round, the forms in turn; the first two rounds do not count."""
    feeds = {form: feeds_of(path, sample) for form, path in paths.items()}
    times: dict[str, list[float]] = {form: [] for form in paths}
    running = dict(sessions(paths, threads))
    for _ in range(rounds + 2):
        for form, session in running.items():
            start = clock()
            session.run(None, feeds[form])
            times[form].append(1000 * (clock() - start))
    return {form: np.asarray(found[2:]) for form, found in times.items()}


def profile(path: Path, sample: Feeds, threads: int, rounds: int) -> Counter[str]:
    """Milliseconds a run by operator."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = threads, True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/profile"
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feeds = feeds_of(path, sample)
        for _ in range(rounds):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1000 / rounds
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(description="Time of strict integers next to float and fused Q/DQ.")
    parser.add_argument("--models", nargs="*", default=[*GENERATED, "mobilenet_v2_tf2"])
    add_zoo_option(parser)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: where others use the machine")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--profile", action="store_true", help="where the integer model spends its time")
    parser.add_argument("--keep", type=Path, help="folder for the models")
    args = parser.parse_args()
    print(f"{'model':24} {'float ms':>9} {'Q/DQ':>7} {'integer':>8}   times float; integer nodes")
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            home = args.keep or Path(folder)
            home.mkdir(parents=True, exist_ok=True)
            paths, sample = forms(name, args.zoo, home)
            times = measure(paths, sample, args.threads, args.rounds, CLOCKS[args.clock])
            ratios = [float(np.median(times[form] / times["float"])) for form in FORMS[1:]]
            nodes = len(onnx.load(paths["integer"]).graph.node)
            print(f"{name:24} {np.median(times['float']):9.2f} {ratios[0]:7.2f} {ratios[1]:8.2f}   {nodes}")
            if args.profile:
                for op, spent in profile(paths["integer"], sample, args.threads, 10).most_common(12):
                    print(f"    {op:22} {spent:8.3f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
