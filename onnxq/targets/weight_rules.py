"""The rules on weights and biases; :mod:`onnxq.targets.rules` explains them."""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, rank
from onnxq.quant.formats import IntFormat
from onnxq.quant.operators import bias_add, bias_stays_float, operands, weight_axis
from onnxq.quant.qdq import dequantized
from onnxq.quant.qparams import QParams
from onnxq.targets.coded_values import Breaches, place, weights
from onnxq.targets.target import Target

__all__ = ["bias", "granularity", "weight"]

_EXACT = 1e-6


def weight(model: ir.Model, target: Target) -> Breaches:
    """Weights are integer constants with zero point 0, within the target's bits."""
    for pair, qparams, node in weights(model):
        codes = constant(pair.inputs[0])
        if codes is None:
            yield place(node), "its weight is float in front of Q/DQ; run fold-fake-quant"
        elif qparams.zero_point.any():
            yield place(node), "its weight has a zero point that is not 0"
        elif qparams.format.signed != target.weight.signed or qparams.format.bits != _storage(target.weight):
            yield place(node), f"its weight is {qparams.format}; the target takes {target.weight}"
        elif codes.size and (codes.min() < -target.weight.qmax - 1 or codes.max() > target.weight.qmax):
            yield place(node), f"its weight goes beyond {target.weight}"


def granularity(model: ir.Model, target: Target) -> Breaches:
    """Scales per channel only where the target has them, along the output channels."""
    for pair, qparams, node in weights(model):
        if qparams.axis is None:
            continue
        wanted = weight_axis(node, rank(pair.outputs[0]) or rank(pair.inputs[0]) or 0)
        if not is_op(node, *target.per_channel):
            yield place(node), f"its weight has a scale per channel; the target wants one for {node.op_type}"
        elif qparams.axis != wanted:
            yield (
                place(node),
                f"its weight has scales along axis {qparams.axis}, its output channels lie along {wanted}",
            )


def bias(model: ir.Model, target: Target) -> Breaches:
    """Biases are int32 with zero point 0 at the scale s_x·s_w, or float where the target wants that."""
    for _, weight_qparams, node in weights(model):
        x, value = dequantized(get_input(node, 0)), _bias(node)
        if x is None or value is None:
            continue
        found = dequantized(value)
        if bias_stays_float(node, target):
            if found is not None:
                yield place(node), "its bias is an integer; the target takes it as float"
        elif found is None:
            yield place(node), "its bias is float; run fold-fake-quant"
        elif str(found[1].format) != "int32" or found[1].zero_point.any():
            yield place(node), "its bias is not int32 with zero point 0"
        elif not _at_product(found[1], x[1], weight_qparams):
            yield place(node), "its bias is not at scale s_x·s_w"


def _bias(node: ir.Node) -> ir.Value | None:
    add, index = bias_add(node), operands(node).bias
    if add is not None:
        return add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
    return None if index is None else get_input(node, index)


def _at_product(found: QParams, x: QParams, w: QParams) -> bool:
    wanted = x.scale.astype(np.float64) * w.scale.astype(np.float64)
    have = found.scale.astype(np.float64)
    if have.size != wanted.size and wanted.size != 1 and have.size % wanted.size:
        return False
    tiled = np.tile(wanted, have.size // wanted.size) if wanted.ndim and have.ndim else wanted
    return bool(np.all(np.abs(have - tiled) <= _EXACT * tiled))


def _storage(fmt: IntFormat) -> int:
    return fmt.dtype.itemsize * 8
