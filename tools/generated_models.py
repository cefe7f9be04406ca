"""Networks in the shape of ResNets and of BERT-base with random weights, as an exporter would write them.

They show what integers cost and save at the sizes that people deploy; what they compute means nothing, so
their score is how close the outputs stay to the float model's. Weights are scaled so that activations keep
their size through all layers, and the same seed gives the same file.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from zoo_loader import Entry, Feeds, load_zoo

from onnxq.graph.numeric import Array, FloatArray

__all__ = ["GENERATED", "Generated", "bert_base", "bert_layer", "load", "require", "resnet18", "resnet50"]

OPSET = 17
SEQUENCE = 128
VOCABULARY = 1000
"""Rows of the table of words: looking them up costs the same however many there are."""


class _Graph:
    """Nodes and weights of one model while it is written."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes))
        return output

    def constant(self, array: Array) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int, deviation: float = 1.0, mean: float = 0.0) -> str:
        array = self.random.normal(mean, deviation, shape)
        return self.constant(array.astype(np.float32))

    def model(
        self, inputs: Mapping[str, tuple[int, list[int]]], output: str, shape: list[int]
    ) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["output"], name="output"))
        graph = helper.make_graph(
            self.nodes,
            "generated",
            [helper.make_tensor_value_info(name, *info) for name, info in inputs.items()],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def resnet18() -> onnx.ModelProto:
    """Residual blocks of two convolutions, BatchNormalization folded, 224 x 224."""
    g = _Graph()
    x = g.op("MaxPool", _conv(g, "image", 3, 64, 7, 2), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for width in np.repeat([64, 128, 256, 512], 2).tolist():
        step = 2 if width != channels else 1
        y = _conv(g, _conv(g, x, channels, width, 3, step), width, width, 3, relu=False, gain=0.5)
        if step == 2:
            x = _conv(g, x, channels, width, 1, step, relu=False, gain=0.8)
        x, channels = g.op("Relu", g.op("Add", y, x)), width
    return _classifier(g, x, channels)


def resnet50() -> onnx.ModelProto:
    """Residual blocks of 3, 4, 6 and 3, BatchNormalization folded, 224 x 224."""
    g = _Graph()
    x = g.op("MaxPool", _conv(g, "image", 3, 64, 7, 2), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            step = stride if block == 0 else 1
            y = _conv(g, _conv(g, x, channels, width, 1), width, width, 3, step)
            y = _conv(g, y, width, 4 * width, 1, relu=False, gain=0.5)
            if block == 0:
                x = _conv(g, x, channels, 4 * width, 1, step, relu=False, gain=0.8)
            x, channels = g.op("Relu", g.op("Add", y, x)), 4 * width
    return _classifier(g, x, channels)


def _classifier(g: _Graph, x: str, channels: int) -> onnx.ModelProto:
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    x = g.op("Gemm", x, g.normal(1000, channels, deviation=0.05), g.normal(1000, deviation=0.1), transB=1)
    return g.model({"image": (TensorProto.FLOAT, [1, 3, 224, 224])}, x, [1, 1000])


def _conv(
    g: _Graph,
    x: str,
    before: int,
    after: int,
    kernel: int,
    stride: int = 1,
    *,
    relu: bool = True,
    gain: float = 1.0,
) -> str:
    deviation = gain * math.sqrt(2 / (before * kernel * kernel))
    weight = g.normal(after, before, kernel, kernel, deviation=deviation)
    made = g.op(
        "Conv",
        x,
        weight,
        g.normal(after, deviation=0.1),
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[kernel // 2] * 4,
    )
    return g.op("Relu", made) if relu else made


def bert_base() -> onnx.ModelProto:
    """12 layers of 768 with 12 heads, 128 words, a mask, GELU by Erf."""
    g = _Graph()
    mask = g.op("Unsqueeze", g.op("Cast", "attention_mask", to=TensorProto.FLOAT), _shape(g, 1, 2))
    mask = g.op("Mul", g.op("Sub", _scalar(g, 1.0), mask), _scalar(g, -10000.0))
    x = g.op("Gather", g.normal(VOCABULARY, 768), "input_ids")
    x = _norm(g, g.op("Add", x, g.normal(1, SEQUENCE, 768, deviation=0.3)))
    for _ in range(12):
        x = _layer(g, x, mask)
    words = (TensorProto.INT64, [1, SEQUENCE])
    return g.model({"input_ids": words, "attention_mask": words}, x, [1, SEQUENCE, 768])


def bert_layer() -> onnx.ModelProto:
    """One of these layers on its own, without a mask."""
    g = _Graph()
    shape = [1, SEQUENCE, 768]
    return g.model({"words": (TensorProto.FLOAT, shape)}, _layer(g, "words"), shape)


def _layer(g: _Graph, x: str, mask: str = "") -> str:
    x = _norm(g, g.op("Add", _attention(g, x, mask), x))
    return _norm(g, g.op("Add", _linear(g, _gelu(g, _linear(g, x, 768, 3072)), 3072, 768), x))


def _attention(g: _Graph, x: str, mask: str) -> str:
    q, k, v = (g.op("Reshape", _linear(g, x, 768, 768), _shape(g, 1, SEQUENCE, 12, 64)) for _ in range(3))
    q, v = (g.op("Transpose", value, perm=[0, 2, 1, 3]) for value in (q, v))
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 3, 1]))
    scores = g.op("Div", scores, _scalar(g, 8.0))
    if mask:
        scores = g.op("Add", scores, mask)
    y = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    return _linear(g, g.op("Reshape", y, _shape(g, 1, SEQUENCE, 768)), 768, 768)


def _gelu(g: _Graph, x: str) -> str:
    bell = g.op("Add", g.op("Erf", g.op("Div", x, _scalar(g, math.sqrt(2)))), _scalar(g, 1.0))
    return g.op("Mul", g.op("Mul", x, bell), _scalar(g, 0.5))


def _linear(g: _Graph, x: str, before: int, after: int) -> str:
    product = g.op("MatMul", x, g.normal(before, after, deviation=before**-0.5))
    return g.op("Add", g.normal(after, deviation=0.1), product)


def _norm(g: _Graph, x: str) -> str:
    scale, bias = g.normal(768, deviation=0.1, mean=1.0), g.normal(768, deviation=0.1)
    return g.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)


def _scalar(g: _Graph, value: float) -> str:
    return g.constant(np.array(value, np.float32))


def _shape(g: _Graph, *axes: int) -> str:
    return g.constant(np.array(axes, np.int64))


@dataclass(frozen=True)
class Generated:
    """A generated model as an evaluation model: random samples, and the outputs' fidelity as score."""

    name: str
    float_model: Path
    sample: Callable[[np.random.Generator], Feeds]

    @classmethod
    def write(cls, name: str, folder: Path) -> "Generated":
        """Write the model's file, unless the folder holds it."""
        make, sample = GENERATED[name]
        path = folder / f"{name}.onnx"
        if not path.is_file():
            onnx.save(make(), path)
        return cls(name, path, sample)

    def calibration(self, n: int, seed: int = 0) -> Iterator[Feeds]:
        """``n`` samples; the seed of :meth:`evaluate` is another."""
        random = np.random.default_rng(seed)
        return (self.sample(random) for _ in range(n))

    def evaluate(
        self, model_path: Path, *, threads: int = 2, limit: int | None = None, optimize: bool = True
    ) -> dict[str, Any]:
        """The mean cosine of the outputs with the float model's, at most 8 samples."""
        samples = list(self.calibration(min(limit or 8, 8), seed=1))
        exact = _outputs(self.float_model, samples, threads, optimize=True)
        found = _outputs(model_path, samples, threads, optimize=optimize)
        cosines = [
            float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) for a, b in zip(exact, found, strict=True)
        ]
        return {"metric_name": "cosine", "metric": float(np.mean(cosines)), "float_metric": 1.0}


def _outputs(path: Path, samples: Sequence[Feeds], threads: int, *, optimize: bool) -> list[FloatArray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [session.run(None, dict(sample))[0].ravel().astype(np.float64) for sample in samples]


def _image(random: np.random.Generator) -> Feeds:
    """Random squares of 8 x 8 with noise on them: neighbours are alike, as in photographs."""
    coarse = random.normal(size=(1, 3, 28, 28)).repeat(8, axis=2).repeat(8, axis=3)
    fine = random.normal(size=(1, 3, 224, 224))
    return {"image": (coarse + 0.3 * fine).astype(np.float32)}


def _words(random: np.random.Generator) -> Feeds:
    length = int(random.integers(SEQUENCE // 2, SEQUENCE + 1))
    mask = (np.arange(SEQUENCE) < length).astype(np.int64)[None]
    return {"input_ids": random.integers(0, VOCABULARY, (1, SEQUENCE)) * mask, "attention_mask": mask}


def _vectors(random: np.random.Generator) -> Feeds:
    return {"words": random.normal(size=(1, SEQUENCE, 768)).astype(np.float32)}


GENERATED: Mapping[str, tuple[Callable[[], onnx.ModelProto], Callable[[np.random.Generator], Feeds]]] = {
    "resnet18_shape": (resnet18, _image),
    "resnet50_shape": (resnet50, _image),
    "bert_layer_shape": (bert_layer, _vectors),
    "bert_base_shape": (bert_base, _words),
}
"""How to write each model, and how to draw a sample for it."""


def require(names: Iterable[str], zoo: Path) -> None:
    """End the program if one of ``names`` is not generated and there is no ``zoo``: before long work."""
    if any(name not in GENERATED for name in names):
        load_zoo(zoo)


def load(name: str, zoo: Path, folder: Path) -> Entry:
    """An evaluation model of the folder ``zoo``, or a generated one, which is written to ``folder``."""
    if name in GENERATED:
        return Generated.write(name, folder)
    entry: Entry = load_zoo(zoo).load(name)
    return entry
