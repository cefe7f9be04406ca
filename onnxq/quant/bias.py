"""Biases of integer linear operators: int32 codes at the scale of the accumulator.

A linear operator on codes sums (q_x − z_x)·q_w, each unit worth s_x·s_w[c]; so must the bias be:

    b_q[c] = round(b[c] / (s_x · s_w[c])),     scale s_x · s_w[c],  zero point 0

Where a weight channel is so small that b_q would not leave the accumulator room, its scale is raised: the
channel's outputs are all bias, and its weights lose bits that cannot be seen.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, producer, sole_consumer
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.quant.formats import INT8, INT32
from onnxq.quant.operators import bias_add, operands
from onnxq.quant.qdq import dequantized, qparams_of
from onnxq.quant.qparams import QParams

__all__ = [
    "BIAS_LIMIT",
    "BiasSite",
    "accumulator_qparams",
    "bias_codes",
    "bias_place",
    "find_bias",
    "finer_scale",
    "roomy_scale",
]

BIAS_LIMIT = 2.0**30
"""Largest bias code: half of int32, so that as much again is left for the products."""

_STEPS = 2.0**10
"""Steps of the bias in one step of the output that are fine enough."""

_FINE = 2.0**20
"""Codes that a bias is given where the weights of its channel are all zero and any scale will do."""


@dataclass(frozen=True, eq=False)
class BiasSite:
    """A float bias of a linear node whose data and weight are fake-quantized.

    bias: float32 [C_out]. weight: the real weight before rounding, with the parameters it is rounded by.
    ``weight_pair`` is the weight's DequantizeLinear; ``holder`` reads the bias as input ``index``.
    """

    holder: ir.Node
    index: int
    bias: FloatArray
    input_scale: FloatArray
    weight: FloatArray
    weight_qparams: QParams
    weight_pair: ir.Node
    groups: int


def bias_place(node: ir.Node) -> tuple[ir.Node, int | None]:
    """Who reads the bias of a linear node, itself or the Add behind it, as which input."""
    if (add := bias_add(node)) is None:
        return node, operands(node).bias
    return add, 0 if add.inputs[1] is node.outputs[0] else 1


def find_bias(node: ir.Node) -> BiasSite | str | None:
    """The float bias of a linear node; the reason where it has to stay float, None where there is none."""
    holder, index = bias_place(node)
    value = None if index is None else get_input(holder, index)
    bias = constant(value)
    data, weight = dequantized(get_input(node, 0)), dequantized(get_input(node, 1))
    if index is None or data is None or weight is None or is_op(producer(value), "DequantizeLinear"):
        return None
    real = _real_weight(*weight)
    if bias is None or bias.dtype != np.float32 or real is None:
        return "its bias or weight is not a float32 constant: the bias stays float"
    if data[1].scale.ndim:
        return "its input has one scale per channel: the bias stays float"
    if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return "alpha and beta are not 1: the bias stays float"
    groups = node.attributes.get_int("group", 1) if is_op(node, "ConvTranspose") else 1
    if weight[1].axis is not None and bias.size != weight[1].scale.size * groups:
        return f"its bias has {bias.size} entries, its weight {weight[1].scale.size} scales: it stays float"
    return BiasSite(holder, index, bias.reshape(-1), data[1].scale, real, weight[1], weight[0], groups)


def roomy_scale(site: BiasSite) -> FloatArray:
    """Weight scales (float32, shaped as they are) under which every bias code stays within ±2^30.

    Per-tensor scales are raised for the largest bias. Where all weights of a channel are zero, the scale
    is chosen for the bias alone. Powers of two stay powers of two. No s_x·s_w is so small that float32 could
    not hold it to full precision.
    """
    w = site.weight_qparams
    magnitude = np.abs(site.bias.astype(np.float64))
    others = None if w.axis is None else tuple(i for i in range(site.weight.ndim) if i != w.axis)
    dead = np.logical_not(site.weight.any(axis=others))
    per_group = magnitude.reshape(site.groups, -1)
    needed = per_group.max(initial=0.0) if w.axis is None else per_group.max(axis=0)
    floor, fine = (np.asarray(needed / (float(site.input_scale) * codes)) for codes in (BIAS_LIMIT, _FINE))
    scale = np.where(np.logical_and(dead, fine > 0), fine, np.maximum(w.scale, floor))
    if np.all(np.frexp(w.scale)[0] == 0.5):
        scale = np.exp2(np.ceil(np.log2(scale)))
    smallest = float(np.finfo(np.float32).tiny) / min(float(site.input_scale), 0.5)
    return np.maximum(scale, 2.0 ** math.ceil(math.log2(smallest))).astype(np.float32)


def finer_scale(site: BiasSite, scale: FloatArray, largest: int) -> FloatArray:
    """``scale`` halved as often as the weight's codes leave room for, where the bias needs finer steps.

        w = q·s = (2^k·q)·(s/2^k)        exactly, in the same 8 bits

    Codes of 2 … 6 bits come with scales so large that a bias rounded to s_x·s_w is off by a good part of an
    output step. As many k are taken as bring that step down to 2^-10 of the output's, if it has one, and as
    leave no code beyond ``largest``, the last one that the target has for weights.
    """
    w = site.weight_qparams
    step = _output_step(site.holder)
    if step is None or w.zero_point.any() or w.format.bits > INT8.bits:
        return scale
    codes = np.abs(QParams(scale, w.zero_point, w.format, w.axis).quantize(site.weight).astype(np.int64))
    others = None if w.axis is None else tuple(i for i in range(codes.ndim) if i != w.axis)
    room = np.floor(np.log2(min(largest, w.format.qmax) / np.maximum(codes.max(axis=others), 1)))
    wanted = np.ceil(np.log2(float(site.input_scale) * scale.astype(np.float64) * _STEPS / step))
    return np.asarray(scale * np.exp2(-np.clip(wanted, 0, np.maximum(room, 0))), np.float32)


def _output_step(node: ir.Node) -> float | None:
    """The scale of the QuantizeLinear behind a node and its activation."""
    after = sole_consumer(node.outputs[0])
    while after is not None and is_op(after, "Relu", "Clip"):
        after = sole_consumer(after.outputs[0])
    qparams = qparams_of(after) if after is not None and is_op(after, "QuantizeLinear") else None
    return None if qparams is None else float(qparams.scale.min())


def accumulator_qparams(site: BiasSite, weight_scale: FloatArray) -> QParams:
    """Scale s_x·s_w in float32 and zero points 0 of int32, per channel on axis 0 where the weight's are."""
    tiled = weight_scale if weight_scale.ndim == 0 else np.tile(weight_scale, site.groups)
    scale = np.asarray(site.input_scale * tiled, np.float32)
    return QParams(scale, np.zeros(scale.shape, np.int32), INT32, None if scale.ndim == 0 else 0)


def bias_codes(bias: FloatArray, qparams: QParams) -> IntArray:
    """round_half_even(b / scale) as int32 [C_out], computed in float64."""
    return np.rint(bias.astype(np.float64) / qparams.scale.astype(np.float64)).astype(np.int32)


def _real_weight(pair: ir.Node, qparams: QParams) -> FloatArray | None:
    """The float weight in front of its pair, or what its integer codes stand for."""
    quantize = producer(pair, 0, "QuantizeLinear")
    source = constant(get_input(quantize if quantize is not None else pair, 0))
    if source is None:
        return None
    return source.astype(np.float32) if quantize is not None else qparams.dequantize(source)
