"""Turn fake-quantized constants into integers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.match import constant, get_input, is_op, producer
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter, describe
from onnxq.graph.scopes import all_nodes
from onnxq.passes.quantization._packing import Pack, fits, pack_constants
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.bias import BiasSite, accumulator_qparams, bias_codes, find_bias, finer_scale, roomy_scale
from onnxq.quant.operators import LINEAR, bias_stays_float
from onnxq.quant.qdq import blocked_qparams_of, parameters, qparams_of
from onnxq.quant.qparams import QParams
from onnxq.targets.target import Target

__all__ = ["Bias", "FoldFakeQuant"]


class Bias(StrEnum):
    """What becomes of the biases of linear operators."""

    INT32 = "int32"
    FLOAT32 = "float32"


@dataclass(frozen=True)
class FoldFakeQuant(Pass):
    """Turn constants behind QuantizeLinear into integers, and biases into int32 at scale s_x·s_w.

           DequantizeLinear(QuantizeLinear(W, s, z), s, z)  =>  DequantizeLinear(W_q, s, z)
           bias b of Conv, ConvTranspose, Gemm, MatMul+Add  =>  DequantizeLinear(b_q, s_x·s_w, 0)
           QuantizeLinear(DequantizeLinear(q, s, z), s, z)  =>  q

    1. A Clip of constant codes is computed first: trainable weights have one.
    2. A bias is taken where the data comes from a DequantizeLinear with one scale and the weight is fake-
       quantized. Where the bias would not fit, the weight's scale is raised first (onnxq.quant.bias). With
       ``bias=float32`` they stay as they are: lower-integer then loses nothing of them, while the int32 of a
       trained model can be off by half of s_x·s_w. Without the option they stay for a target whose biases
       are float32, for ONNX Runtime also those of a MatMul whose shapes are not known, as it adds these as
       float.
    3. Then every constant in front of a QuantizeLinear becomes its codes, whoever put the pair there.
    4. A pair that quantizes again what has the very same parameters cancels.
    5. With ``pack=int4`` constant codes that fit into 4 bits are stored in int4 or uint4, which raises the
       model to opset 21; with ``pack=int2`` those of 2 bits in int2 or uint2, opset 25. It is for the file
       that leaves: import-fake-quant reads it, other passes take 8 bits. ONNX Runtime 1.31 runs int4; int2
       only as written, with its optimizations off. A bias then gets no finer scale.
    """

    name: ClassVar[str] = "fold-fake-quant"
    contract: ClassVar[Contract] = Contract.APPROXIMATE

    bias: Bias | None = None
    pack: Pack = Pack.INT8

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        for node in all_nodes(rw.model):
            if is_op(node, "Clip"):
                _fold_clip(node, rw)
        for node in all_nodes(rw.model):
            if is_op(node, *LINEAR) and not self._keeps_bias(node, context.target):
                _fold_bias(node, rw, context.target.weight.qmax, self.pack)
        for node in all_nodes(rw.model):
            if is_op(node, "QuantizeLinear"):
                _fold_constant(node, rw)
                _cancel(node, rw)
        pack_constants(rw, self.pack)

    def _keeps_bias(self, node: ir.Node, target: Target) -> bool:
        return bias_stays_float(node, target) if self.bias is None else self.bias == Bias.FLOAT32


def _fold_clip(node: ir.Node, rw: Rewriter) -> None:
    """Clip(QuantizeLinear(W, s, z), low, high) of a constant becomes its codes."""
    quantize = producer(node, 0, "QuantizeLinear")
    array = None if quantize is None else constant(get_input(quantize, 0))
    qparams = None if quantize is None else qparams_of(quantize)
    ends = [constant(get_input(node, i)) for i in (1, 2)]
    if quantize is None or array is None or qparams is None or array.dtype != np.float32:
        return
    if any(get_input(node, i) is not None and end is None for i, end in zip((1, 2), ends, strict=True)):
        return
    if node.outputs[0].is_graph_output():
        return
    codes = _codes(node, array, qparams)
    low, high = (None if end is None else end.reshape(()) for end in ends)
    clipped = codes if low is None and high is None else np.clip(codes, low, high)
    rw.replace([quantize, node], rw.const(clipped, quantize.outputs[0].name or "codes"))


def _fold_bias(node: ir.Node, rw: Rewriter, largest: int, pack: Pack) -> None:
    site = find_bias(node)
    if isinstance(site, str):
        return rw.skip(node, site)
    if site is None:
        return None
    if not (np.isfinite(site.bias).all() and np.isfinite(site.weight).all()):
        raise ModelError(
            f"{describe(node)} has a weight or bias that holds NaN or infinity, which have no code: training "
            "diverged, or the file is damaged"
        )
    weight = site.weight_qparams
    scale = roomy_scale(site)
    if not fits(weight.quantize(site.weight), pack):
        scale = finer_scale(site, scale, largest)
    if not np.array_equal(scale, weight.scale):
        _requantize_weight(node, site, QParams(scale, weight.zero_point, weight.format, weight.axis), rw)
    qparams = accumulator_qparams(site, scale)
    source = site.holder.inputs[site.index]
    name = source.name if source is not None and source.name else "bias"
    codes = bias_codes(site.bias, qparams)
    rw.set_input(site.holder, site.index, _dequantize(rw, codes, qparams, name))
    return None


def _requantize_weight(node: ir.Node, site: BiasSite, qparams: QParams, rw: Rewriter) -> None:
    source = site.weight_pair.inputs[0]
    name = source.name if source is not None and source.name else "weight"
    # From what its own format makes of the weight: quantized anew, 4 bits would become as many as 8 hold.
    weight = site.weight_qparams.dequantize(site.weight_qparams.quantize(site.weight))
    rw.set_input(node, 1, _dequantize(rw, qparams.quantize(weight), qparams, name))
    rw.remove(site.weight_pair)


def _dequantize(rw: Rewriter, codes: np.ndarray, qparams: QParams, name: str) -> ir.Value:
    inputs = [rw.const(codes, f"{name}_quantized"), *parameters(rw, qparams, name)]
    axis = {} if qparams.axis is None else {"axis": qparams.axis}
    shape, dtype = ir.Shape(codes.shape), ir.DataType.FLOAT
    return rw.op("DequantizeLinear", inputs, axis, dtype=dtype, shape=shape, output=f"{name}_dequantized")


def _fold_constant(node: ir.Node, rw: Rewriter) -> None:
    array = constant(get_input(node, 0))
    if array is None or array.dtype != np.float32:
        return None
    qparams = qparams_of(node) or blocked_qparams_of(node)
    if qparams is None:
        return rw.skip(node, "its scale is not a float32 constant, or its format is no 8- or 16-bit integer")
    if node.outputs[0].is_graph_output():
        return rw.skip(node, "its output is an output of the model")
    codes, zero_point = _codes(node, array, qparams), constant(get_input(node, 2))
    if qparams.block is not None and zero_point is not None:
        codes = codes.astype(zero_point.dtype)  # 4 bits are computed in 8
    rw.replace(node, rw.const(codes, node.outputs[0].name or "codes"))
    return None


def _codes(node: ir.Node, array: FloatArray, qparams: QParams) -> IntArray:
    if np.isnan(array).any():
        raise ModelError(
            f"{describe(node)} quantizes a constant that holds NaN, which has no code: training diverged, or "
            "the file is damaged"
        )
    return qparams.quantize(array)


def _cancel(node: ir.Node, rw: Rewriter) -> None:
    before = producer(node, 0, "DequantizeLinear") if node.graph is not None else None
    if before is None or (codes := before.inputs[0]) is None:
        return
    first, second = qparams_of(before), qparams_of(node)
    if first is not None and second is not None and first.same_as(second):
        rw.bypass(node, codes)
        rw.remove(before)
