"""What the tests of lower-qoperator share: Q/DQ graphs, their lowering, and what both compute."""

import numpy as np
import onnx
import onnx_ir as ir

from onnxq.graph.numeric import Array
from onnxq.passes.lowering.lower_qoperator import LowerQoperator
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

from .fake_quantizer import FakeQuantizer, Scheme, shape_of


def quantized(model: ir.Model, seed: int = 0, dtype: str = "uint8") -> onnx.ModelProto:
    return FakeQuantizer(ir.to_proto(model), np.random.default_rng(seed), Scheme(dtype)).model


def lowered(qdq: onnx.ModelProto, *, contrib: bool = True) -> tuple[onnx.ModelProto, Outcome]:
    """Lower, check the file, and lower again, which must change nothing."""
    outcome = LowerQoperator(contrib).run(ir.from_proto(qdq), Context())
    proto = ir.to_proto(outcome.model)
    onnx.checker.check_model(proto, full_check=True)
    assert LowerQoperator(contrib).run(outcome.model, Context()).edits == 0
    return proto, outcome


def outputs(model: onnx.ModelProto, seed: int, *, optimize: bool) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for info in model.graph.input:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        drawn = rng.normal(size=shape_of(info))
        feeds[info.name] = (drawn > 0) if dtype == np.bool_ else drawn.astype(dtype)
    return Session(model, optimize=optimize, threads=1).run(feeds)


def inner(model: onnx.ModelProto) -> list[str]:
    border = ("QuantizeLinear", "DequantizeLinear")
    return [node.op_type for node in model.graph.node if node.op_type not in border]
