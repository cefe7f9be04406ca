"""Published Q/DQ classifiers become integer models that agree with them."""

from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from onnxq import model_io
from onnxq.evaluate.integer_only import float_tensors
from onnxq.graph.numeric import Array
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

MODELS = [
    ("resnet8_cifar10", "model_int8_qdq.onnx", 50),
    ("kws_dscnn", "model_int8_qdq.onnx", 50),
    ("mobilenet_v1_0.25_128_qat", "model.onnx", 10),
    ("mobilenet_v2_tf2", "model_qdq.onnx", 2),
]


@pytest.mark.parametrize(("name", "file", "samples"), MODELS, ids=[name for name, _, _ in MODELS])
def test_same_codes_layer_by_layer(zoo: ModuleType, name: str, file: str, samples: int) -> None:
    """Each layer gets the Q/DQ model's own codes: at least 99.9 % of its codes are equal, none is 2 off.

    Average pools with equal scales before and after tie constantly, where ONNX rounds to even and the
    integer model up; with them it is 95 %.
    """
    path = Path(zoo.load(name).float_model).parent / file
    strict = LowerInteger().run(model_io.load(path), Context()).model
    assert float_tensors(strict) == []
    layers = Layers(path, model_io.to_proto(strict))
    for feeds in zoo.load(name).calibration(samples, seed=1):
        layers.add(feeds)
    assert layers.worst == 1
    for op, (equal, total) in layers.share.items():
        assert equal / total >= (0.95 if op == "GlobalAveragePool" else 0.999), op


class Layers:
    """The two models side by side, the integer one cut at every tensor that both have."""

    def __init__(self, path: Path, strict: onnx.ModelProto) -> None:
        qdq = model_io.to_proto(model_io.load(path))
        makers = {output: node for node in qdq.graph.node for output in node.output}
        made = {output for node in strict.graph.node for output in node.output}
        quantizers = [n for n in qdq.graph.node if n.op_type == "QuantizeLinear" and n.output[0] in made]
        self.ops = {n.output[0]: getattr(makers.get(n.input[0]), "op_type", "") for n in quantizers}
        self.qdq = Session(path, optimize=False, threads=1, extra_outputs=list(self.ops))
        metadata = {entry.key: entry.value for entry in strict.metadata_props}
        self.params = [
            (
                i.name,
                np.float32(metadata[f"onnxq.scale.{i.name}"]),
                int(metadata[f"onnxq.zero_point.{i.name}"]),
            )
            for i in strict.graph.input
        ]
        self.dtype = onnx.helper.tensor_dtype_to_np_dtype(strict.graph.input[0].type.tensor_type.elem_type)
        self.strict = Session(_cut(strict, list(self.ops), self.dtype), optimize=False, threads=1)
        self.worst, self.share = 0, dict.fromkeys(self.ops.values(), (0, 0))

    def add(self, feeds: dict[str, Array]) -> None:
        expected = self.qdq.run(feeds)
        codes = {name: expected[name] for name in self.ops}
        limits = np.iinfo(self.dtype)
        for name, scale, zero in self.params:
            codes[name] = np.clip(np.rint(feeds[name] / scale) + zero, limits.min, limits.max).astype(
                self.dtype
            )
        found = self.strict.run(codes)
        for name, op in self.ops.items():
            apart = np.abs(expected[name].astype(int) - found[f"{name}_cut"])
            equal, total = self.share[op]
            self.share[op] = (equal + int((apart == 0).sum()), total + apart.size)
            self.worst = max(self.worst, int(apart.max()))


def _cut(model: onnx.ModelProto, names: list[str], dtype: np.dtype[np.generic]) -> onnx.ModelProto:
    """Each of ``names`` becomes an input, and what made it the output ``<name>_cut``."""
    kinds = {v.name: v for v in (*model.graph.value_info, *model.graph.output)}
    for node in model.graph.node:
        for i, output in enumerate(node.output):
            node.output[i] = f"{output}_cut" if output in names else output
    del model.graph.output[:], model.graph.value_info[:]
    model.graph.input.extend(kinds[name] for name in names)
    model.graph.output.extend(onnx.ValueInfoProto(name=f"{name}_cut") for name in names)
    return model
