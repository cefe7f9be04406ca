"""A small model with one large weight, for the tests of files: y = x @ w + b."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort

from onnxq.graph.numeric import Array

WEIGHT = np.arange(1024, dtype=np.float32).reshape(4, 256)
TEXT = """<ir_version: 8, opset_import: ["" : 19]>
    g (float[N,4] x) => (float[N,256] y) {t = MatMul(x, w) y = Add(t, b)}"""


def make(ir_version: int = 8, opset: int = 19) -> onnx.ModelProto:
    """y = x @ w + b"""
    proto = onnx.parser.parse_model(TEXT)
    proto.ir_version, proto.opset_import[0].version = ir_version, opset
    constants = {"w": WEIGHT, "b": np.array(0.5, np.float32)}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in constants.items())
    return proto


def run(path: Path) -> Array:
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = np.ones((1, 4), np.float32)
    return np.asarray(session.run(None, {"x": x})[0])


EXPECTED = np.ones((1, 4), np.float32) @ WEIGHT + np.float32(0.5)
