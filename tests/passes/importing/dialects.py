"""What the tests of import-fake-quant share: graphs of one quantizer, and what they must become."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import Array, FloatArray
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.import_fake_quant import ImportFakeQuant
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Text: TypeAlias = Callable[..., ir.Model]

X = np.linspace(-4.03, 4.11, 96, dtype=np.float32).reshape(2, 3, 16)
LINE = "g (float[2,3,16] x) => (float[2,3,16] y) <{constants}> {{ {body} }}"
QONNX = "qonnx.custom_op.general"


def imported(model: ir.Model) -> Outcome:
    """The pass, run once; a second run must not edit."""
    done = ImportFakeQuant().run(model, Context())
    assert ImportFakeQuant().run(done.model, Context()).edits == 0, "our own output is changed"
    return done


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in all_nodes(model)]


def values(model: ir.Model, feeds: Mapping[str, Array] | None = None) -> Array:
    return Session(model, optimize=False).run(feeds or {"x": X})["y"]


def check(model: ir.Model, expected: FloatArray, nodes: list[str]) -> ir.Model:
    """The imported graph has these nodes and computes exactly these numbers."""
    done = imported(model)
    assert ops(done.model) == nodes
    assert not done.skips
    np.testing.assert_array_equal(values(done.model), expected.astype(np.float32))
    return done.model


def grid(x: FloatArray, s: float, z: int, low: int, high: int) -> FloatArray:
    """The quantizer that all dialects mean, in float32."""
    codes = np.clip(np.rint(x / np.float32(s)) + z, low, high)
    return np.asarray((codes - z).astype(np.float32) * np.float32(s))
