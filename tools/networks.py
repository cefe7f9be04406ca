"""Networks in the shape of ResNets and of BERT-base with random weights, as an exporter would write them.

Weights are scaled so that activations keep their size through all layers; the same seed gives the same file.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxq.graph.numeric import Array

__all__ = ["SEQUENCE", "VOCABULARY", "bert_base", "bert_layer", "resnet18", "resnet50"]

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
