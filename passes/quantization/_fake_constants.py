"""Constants behind fake-quant, read as codes and written back as codes."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, producer
from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.qdq import dequantized, parameters, qparams_of
from onnxq.quant.qparams import QParams

__all__ = ["FakeConstant", "read_constant", "write_constant"]


@dataclass(frozen=True, eq=False)
class FakeConstant:
    """Integer codes of any shape with their parameters, and the DequantizeLinear that reads them."""

    codes: IntArray
    qparams: QParams
    pair: ir.Node

    @property
    def name(self) -> str:
        """The name to derive new names from."""
        return self.pair.outputs[0].name or "weight"


def read_constant(value: ir.Value | None) -> FakeConstant | None:
    """The codes of a constant behind DequantizeLinear, or behind a pair; None for anything else."""
    found = dequantized(value)
    if found is None:
        return None
    pair, qparams = found
    codes = constant(get_input(pair, 0))
    if codes is not None:
        return FakeConstant(codes, qparams, pair)
    quantize = producer(pair, 0, "QuantizeLinear")
    real = None if quantize is None else constant(get_input(quantize, 0))
    given = None if quantize is None else qparams_of(quantize)
    if real is None or real.dtype != np.float32 or given is None or given.format != qparams.format:
        return None
    return FakeConstant(given.quantize(real), qparams, pair)


def write_constant(rw: Rewriter, codes: IntArray, qparams: QParams, name: str) -> ir.Value:
    """Prepare ``DequantizeLinear(codes, scale, zero_point)``."""
    inputs = [
        rw.const(codes.astype(qparams.format.dtype), f"{name}_quantized"),
        *parameters(rw, qparams, name),
    ]
    axis = {} if qparams.axis is None else {"axis": qparams.axis}
    shape, dtype = ir.Shape(codes.shape), ir.DataType.FLOAT
    return rw.op("DequantizeLinear", inputs, axis, dtype=dtype, shape=shape, output=f"{name}_dequantized")
