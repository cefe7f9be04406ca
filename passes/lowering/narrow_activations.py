"""8 bits for activations of 16."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.bias import bias_place
from onnxq.quant.formats import IntFormat
from onnxq.quant.operators import LINEAR
from onnxq.quant.qdq import dequantized, parameters, qparams_of
from onnxq.quant.qparams import QParams
from onnxq.words import plural

__all__ = ["NarrowActivations"]


@dataclass(frozen=True)
class NarrowActivations(Pass):
    """Give activations of 16 bits in a Q/DQ graph 8, over the same range.

           QuantizeLinear(x, s, z: uint16)   =>   QuantizeLinear(x, 257·s, round(z / 257): uint8)

    For runtimes without words for their products: lower-int32 begins with it, since targets may give the
    decoding of boxes 16 bits (``wide_tail``). It costs the accuracy that these were for, and warns of it.
    Scales that are powers of two are multiplied by 256, which cuts off the upper 0.4 % of the range.

    The int32 bias of a Conv, ConvTranspose, Gemm or MatMul follows the scale of what this reads. Inputs and
    outputs of the model that are codes stay as they are, and so do scales per channel.
    """

    name: ClassVar[str] = "narrow-activations"
    contract: ClassVar[Contract] = Contract.APPROXIMATE

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        narrowed: list[str] = []
        for node in list(all_nodes(rw.model)):
            qparams = qparams_of(node) if is_op(node, "QuantizeLinear", "DequantizeLinear") else None
            codes = node.outputs[0] if is_op(node, "QuantizeLinear") else get_input(node, 0)
            if qparams is None or qparams.format.bits != 16 or codes is None:
                continue
            if is_op(node, "DequantizeLinear") and constant(codes) is None:
                continue  # done with its QuantizeLinear
            if reason := _why_not(codes, qparams):
                rw.skip(node, reason)
                continue
            _narrow(node, codes, qparams, rw)
            narrowed.append(codes.name or "")
        if narrowed:
            warnings.warn(
                f"narrow-activations gives {plural(len(narrowed), 'value')} 8 bits in place of 16, such as "
                f"'{narrowed[0]}': measure what it costs, or lower for a dialect that has words for them",
                stacklevel=2,
            )


def _why_not(codes: ir.Value, qparams: QParams) -> str | None:
    readers = consumers(codes)
    if qparams.axis is not None or qparams.block is not None:
        return "its scales are per channel"
    if codes.is_graph_input() or codes.is_graph_output():
        return "its codes are an input or output of the model"
    if not all(is_op(reader, "DequantizeLinear") and _same(reader, qparams) for reader in readers):
        return "something else than a DequantizeLinear of the same scale reads its codes"
    return None


def _same(node: ir.Node, qparams: QParams) -> bool:
    found = qparams_of(node)
    return found is not None and found.same_as(qparams)


def _narrow(node: ir.Node, codes: ir.Value, qparams: QParams, rw: Rewriter) -> None:
    small, array = _narrower(qparams), constant(codes)
    nodes = list(_pair(node, codes))
    for linear in dict.fromkeys(_linear_readers(nodes)):
        _follow(linear, float(small.scale / qparams.scale), rw)
    scale, zero_point = parameters(rw, small, codes.name or "codes")
    for one in nodes:
        rw.set_input(one, 1, scale)
        rw.set_input(one, 2, zero_point)
    if array is None:
        return rw.set_type(codes, small.format.ir_dtype)
    short = rw.const(small.quantize(qparams.dequantize(array)), codes.name or "codes")
    for reader in nodes:
        rw.set_input(reader, 0, short)
    return None


def _pair(node: ir.Node, codes: ir.Value) -> Iterator[ir.Node]:
    if is_op(node, "QuantizeLinear"):
        yield node
    yield from consumers(codes)


def _linear_readers(nodes: Sequence[ir.Node]) -> Iterator[ir.Node]:
    """Who multiplies what some of the nodes dequantize."""
    for node in nodes:
        uses = node.outputs[0].uses() if is_op(node, "DequantizeLinear") else ()
        yield from (use.node for use in uses if is_op(use.node, *LINEAR) and use.idx < 2)


def _follow(linear: ir.Node, factor: float, rw: Rewriter) -> None:
    """Give the int32 bias of a linear operator a scale that is ``factor`` times as large."""
    holder, index = bias_place(linear)
    bias = None if index is None else dequantized(get_input(holder, index))
    codes = None if bias is None else constant(bias[0].inputs[0])
    if index is None or bias is None or codes is None or codes.dtype != np.int32:
        return
    qparams = replace(bias[1], scale=(bias[1].scale * np.float32(factor)).astype(np.float32))
    name = bias[0].outputs[0].name or "bias"
    fewer = rw.const(np.rint(codes / factor).astype(np.int32), name)
    inputs = [fewer, *parameters(rw, qparams, name)]
    attributes = dict(bias[0].attributes)
    rw.set_input(holder, index, rw.op("DequantizeLinear", inputs, attributes, like=bias[0].outputs[0]))


def _narrower(qparams: QParams) -> QParams:
    fmt = IntFormat(8, signed=qparams.format.signed)
    fraction, _ = np.frexp(qparams.scale)
    factor = 256 if fraction == 0.5 else 257
    steps = (qparams.zero_point.astype(np.float64) - qparams.format.qmin) / factor
    zero_point = np.clip(np.rint(steps) + fmt.qmin, fmt.qmin, fmt.qmax).astype(fmt.dtype)
    scale = (qparams.scale * np.float32(factor)).astype(np.float32)
    return replace(qparams, scale=scale, zero_point=zero_point, format=fmt)
