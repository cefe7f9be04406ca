"""Let a model take and give floats again."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxq.data.codes import Codes, read_codes
from onnxq.errors import ModelError
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.qdq import scale_and_zero_point

__all__ = ["FloatIo"]

_SINCE = {"INT8": 10, "UINT8": 10, "INT16": 21, "UINT16": 21}
"""The opset from which QuantizeLinear and DequantizeLinear know an integer type."""


@dataclass(frozen=True)
class FloatIo(Pass):
    """Put QuantizeLinear behind integer inputs and DequantizeLinear in front of integer outputs.

           integer x   =>   float x → QuantizeLinear(s, z) → q
           integer y   =>   q → DequantizeLinear(s, z) → float y

    The way back from strip-io and lower-integer: s and z are the metadata ``onnxq.scale.<name>`` and
    ``onnxq.zero_point.<name>``, which disappear. Names and order stay. Integers without a scale, such as
    token numbers, stay what they are.
    """

    name: ClassVar[str] = "float-io"
    contract: ClassVar[Contract] = Contract.INTEGER_EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        graph = rw.model.graph
        for value in list(dict.fromkeys([*graph.inputs, *graph.outputs])):
            name = value.name or ""
            if (codes := read_codes(rw.model.metadata_props, name)) is None:
                continue
            if reason := _obstacle(value, rw.model.opset_imports.get("", 0)):
                rw.skip(f"'{name}'", reason)
                continue
            parameters = _parameters(rw, value, codes)
            if value.is_graph_input():
                _quantize(rw, value, parameters)
            else:
                _dequantize(rw, value, parameters)
            for key in ("scale", "zero_point"):
                rw.model.metadata_props.pop(f"onnxq.{key}.{name}", None)


def _obstacle(value: ir.Value, opset: int) -> str:
    """Why a value with a scale stays as it is; empty if nothing stands against floats."""
    kind = "of unknown type" if value.dtype is None else value.dtype.name.lower()
    since = _SINCE.get(kind.upper())
    if since is None or opset < since:
        return f"it is {kind}, which QuantizeLinear does not know at opset {opset}"
    if value.is_graph_input() and (value.is_graph_output() or value.is_initializer()):
        return "it is both an input and an output of the model, or has a default value"
    return ""


def _parameters(rw: Rewriter, value: ir.Value, codes: Codes) -> list[ir.Value]:
    """Scale and zero point as constants.

    Raises:
        ModelError: the scale is no float32 or the zero point no code.
    """
    assert value.dtype is not None, "values of unknown type were left alone"
    dtype = value.dtype.numpy()
    limits, floats = np.iinfo(dtype), np.finfo(np.float32)
    known = float(floats.smallest_subnormal) <= codes.scale <= float(floats.max)
    if not known or not limits.min <= codes.zero_point <= limits.max:
        raise ModelError(
            f"metadata of '{value.name}': expected a float32 scale and a zero point of {dtype}, "
            f"found {codes.scale} and {codes.zero_point}"
        )
    scale, zero_point = np.asarray(codes.scale, np.float32), np.asarray(codes.zero_point, dtype)
    return scale_and_zero_point(rw, scale, zero_point, value.name or "codes")


def _quantize(rw: Rewriter, value: ir.Value, parameters: list[ir.Value]) -> None:
    codes = rw.op("QuantizeLinear", [value, *parameters], like=value, output=f"{value.name}_quantized")
    rw.set_type(value, ir.DataType.FLOAT)
    rw.interpose(value, codes)


def _dequantize(rw: Rewriter, value: ir.Value, parameters: list[ir.Value]) -> None:
    readers = [(use.node, use.idx) for use in value.uses()]
    real = rw.op("DequantizeLinear", [value, *parameters], like=value, dtype=ir.DataType.FLOAT)
    rw.interpose(value, real)
    for node, index in readers:
        rw.set_input(node, index, value)
