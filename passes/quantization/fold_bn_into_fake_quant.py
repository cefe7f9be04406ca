"""BatchNormalization behind a linear operator with fake-quantized weights."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, producer, rank, sole_consumer
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import Affine, batch_norm_affine
from onnxq.passes.quantization._fake_constants import FakeConstant, read_constant, write_constant
from onnxq.pipeline.base import Contract, NodePass
from onnxq.quant.operators import weight_axis
from onnxq.quant.qparams import QParams

__all__ = ["FoldBnIntoFakeQuant"]

_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class FoldBnIntoFakeQuant(NodePass):
    """Fold a BatchNormalization into the scales of the quantized weights before it; the codes stay.

           y = BatchNormalization(Conv(x, DequantizeLinear(W_q, s), b), gamma, beta, mean, var)
        => y = Conv(x, DequantizeLinear(W_q · sign g, s · |g|), (b − mean)·g + beta)
                                                              with g = gamma / sqrt(var + epsilon)

    Multiplying the float weights and rounding them again would move codes that training has settled; scales
    per channel take g exactly. One scale becomes one for each channel. Where g is negative the codes of the
    channel change their sign, where it is zero they become zero. Taken are Conv, ConvTranspose, Gemm and
    MatMul that nobody else reads; zero points have to be 0. The groups of a ConvTranspose share their scales,
    so g has to be of one size in all of them. The bias stays float until fold-fake-quant.
    """

    name = "fold-bn-into-fake-quant"
    contract = Contract.EXACT
    root = "BatchNormalization"

    def rewrite(self, bn: ir.Node, rw: Rewriter, /) -> None:
        node = producer(bn, 0, "Conv", "ConvTranspose", "Gemm", "MatMul")
        weight = None if node is None else read_constant(get_input(node, 1))
        if node is None or weight is None:
            return None
        if sole_consumer(node.outputs[0]) is not bn:
            return rw.skip(bn, f"something else reads the output of the {node.op_type} before it")
        if isinstance(affine := batch_norm_affine(bn), str):
            return rw.skip(bn, affine)
        folded = _scaled(node, weight, affine)
        bias = _bias(node, affine)
        if isinstance(folded, str) or isinstance(bias, str):
            return rw.skip(bn, folded if isinstance(folded, str) else str(bias))
        real = write_constant(rw, *folded, weight.name)
        added = rw.const(bias.astype(np.float32), f"{bn.outputs[0].name}_bias")
        inputs = [node.inputs[0], real]
        if node.op_type == "MatMul":
            product = rw.op("MatMul", inputs, like=bn.outputs[0])
            rw.replace([weight.pair, node, bn], rw.op("Add", [product, added], like=bn.outputs[0]))
        else:
            new = rw.op(node.op_type, [*inputs, added], node.attributes, like=bn.outputs[0])
            rw.replace([weight.pair, node, bn], new)
        return None


def _scaled(node: ir.Node, weight: FakeConstant, affine: Affine) -> tuple[IntArray, QParams] | str:
    """Codes and parameters of the weight times g, or why they do not exist."""
    q, axis = weight.qparams, weight_axis(node, weight.codes.ndim)
    if axis is None or q.axis not in (None, axis):
        return "the scales of its weights lie along another axis than the output channels"
    if q.zero_point.any():
        return "its weights have a zero point: their codes cannot change sign"
    groups = node.attributes.get_int("group", 1) if node.op_type == "ConvTranspose" else 1
    if weight.codes.shape[axis] * groups != affine.scale.size:
        return f"it has {affine.scale.size} channels, the {node.op_type} {weight.codes.shape[axis] * groups}"
    gains = np.abs(affine.scale).reshape(groups, -1)
    gain = gains.max(axis=0)
    if np.any((gains != gain) & (gains != 0)):
        return f"the {groups} groups of the {node.op_type} share their scales, and it scales them differently"
    if node.attributes.get_float("alpha", 1.0) != 1 or node.attributes.get_float("beta", 1.0) != 1:
        return "alpha and beta of the Gemm are not 1"
    codes = weight.codes.astype(np.int64) * _signs(affine.scale, weight.codes, axis, groups)
    if codes.max(initial=0) > q.format.qmax or codes.min(initial=0) < q.format.qmin:
        return f"a channel would change its sign, and {-q.format.qmin} is no code of {q.format}"
    scale = (q.scale.astype(np.float64) * gain).astype(np.float32)
    dead = gain == 0
    if np.any((scale < _TINY) & np.logical_not(dead)):
        return "a scale would become too small for float32"
    scale = np.where(dead, np.broadcast_to(q.scale, scale.shape), scale)
    return codes, QParams(scale, np.zeros(scale.shape, q.format.dtype), q.format, axis)


def _signs(scale: FloatArray, codes: IntArray, axis: int, groups: int) -> IntArray:
    """The sign of each code's channel; axis 0 of a ConvTranspose's weight runs through its groups."""
    signs = np.sign(scale).astype(np.int64)
    shape = [-1 if i == axis else 1 for i in range(codes.ndim)]
    if groups == 1:
        return signs.reshape(shape)
    shape[0] = codes.shape[0]
    return np.repeat(signs.reshape(groups, -1), codes.shape[0] // groups, axis=0).reshape(shape)


def _bias(node: ir.Node, affine: Affine) -> FloatArray | str:
    """(b − mean)·g + beta, float64 [C]."""
    value = get_input(node, 2)
    if value is None:
        if node.op_type in ("Gemm", "MatMul") and rank(node.inputs[0]) not in (None, 2):
            return (
                "channels of a MatMul of more than two axes are last, those of the BatchNormalization are not"
            )
        return affine.shift
    fake = read_constant(value)
    bias = fake.qparams.dequantize(fake.codes) if fake is not None else constant(value)
    if bias is None or bias.size not in (1, affine.scale.size):
        return f"the bias of the {node.op_type} is not constant"
    return bias.reshape(-1).astype(np.float64) * affine.scale + affine.shift
