"""Q/DQ nodes: reading their parameters, and writing pairs."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, producer, rank, static_shape
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.formats import IntFormat
from onnxq.quant.qparams import QParams

__all__ = [
    "blocked_qparams_of",
    "dequantized",
    "insert_pair",
    "parameters",
    "qparams_of",
    "scale_and_zero_point",
    "through_fake_quant",
]

_FORMATS = {
    "int8": IntFormat(8, signed=True),
    "uint8": IntFormat(8, signed=False),
    "int16": IntFormat(16, signed=True),
    "uint16": IntFormat(16, signed=False),
    "int32": IntFormat(32, signed=True),
}


def qparams_of(node: ir.Node) -> QParams | None:
    """The parameters of a QuantizeLinear or DequantizeLinear, if they are constant, affine and not blocked.

    A zero point left out is zero: of uint8 on QuantizeLinear, of the codes' type on DequantizeLinear.
    """
    scale, zero_point = constant(get_input(node, 1)), constant(get_input(node, 2))
    if scale is None or scale.dtype != np.float32 or node.attributes.get_int("block_size", 0) != 0:
        return None
    if zero_point is None and get_input(node, 2) is not None:
        return None
    if zero_point is None:
        codes = node.inputs[0] if is_op(node, "DequantizeLinear") else node.outputs[0]
        if codes is None or codes.dtype is None:
            return None
        zero_point = np.zeros(scale.shape, codes.dtype.numpy())
    if zero_point.dtype.name not in _FORMATS or zero_point.size not in (1, scale.size):
        return None
    fmt = _FORMATS[zero_point.dtype.name]
    if scale.ndim == 0 or (scale.size == 1 and rank(node.inputs[0]) != 1):
        return QParams(scale.reshape(()), zero_point.reshape(()), fmt)
    axis = node.attributes.get_int("axis", 1)
    if axis < 0 and (axes := rank(node.inputs[0])) is not None:
        axis += axes
    return QParams(scale, np.broadcast_to(zero_point, scale.shape), fmt, axis)


def blocked_qparams_of(node: ir.Node) -> QParams | None:
    """The parameters of a QuantizeLinear or DequantizeLinear of opset 21 whose blocks fill its input."""
    scale, zero_point = constant(get_input(node, 1)), constant(get_input(node, 2))
    block, shape = node.attributes.get_int("block_size", 0), static_shape(get_input(node, 0))
    if block < 1 or shape is None or scale is None or scale.dtype != np.float32 or zero_point is None:
        return None
    formats = {**_FORMATS, "int4": IntFormat(4, signed=True)}
    if zero_point.dtype.name not in formats or zero_point.shape != scale.shape or scale.ndim != len(shape):
        return None
    axis = node.attributes.get_int("axis", 1) % scale.ndim
    if tuple(n * (block if i == axis else 1) for i, n in enumerate(scale.shape)) != tuple(shape):
        return None
    fmt = formats[zero_point.dtype.name]
    return QParams(scale, zero_point.astype(fmt.dtype), fmt, axis, block)


def dequantized(value: ir.Value | None) -> tuple[ir.Node, QParams] | None:
    """The DequantizeLinear that makes a value, with its parameters; None if it is made otherwise."""
    node = producer(value)
    if node is None or not is_op(node, "DequantizeLinear"):
        return None
    qparams = qparams_of(node)
    return None if qparams is None else (node, qparams)


def through_fake_quant(value: ir.Value | None) -> ir.Value | None:
    """What lies before the Q/DQ pairs behind which a value comes."""
    while (node := producer(value)) is not None and is_op(node, "DequantizeLinear", "QuantizeLinear"):
        value = node.inputs[0]
    return value


def parameters(rw: Rewriter, qparams: QParams, name: str) -> list[ir.Value]:
    """Scale and zero point as constants, named after the value they belong to."""
    return scale_and_zero_point(rw, qparams.scale, qparams.zero_point, name)


def scale_and_zero_point(rw: Rewriter, scale: Array, zero_point: Array, name: str) -> list[ir.Value]:
    """The same of arrays, whose type is that of the codes."""
    return [rw.const(scale, f"{name}_scale"), rw.const(zero_point, f"{name}_zero_point")]


def insert_pair(
    rw: Rewriter,
    value: ir.Value,
    qparams: QParams,
    readers: list[ir.Node] | None = None,
    *,
    params: Sequence[ir.Value] | None = None,
    clip: bool = False,
) -> ir.Value:
    """Put one Q/DQ pair behind ``value``; ``readers`` (default: all) read its output, which is returned.

    ``params`` are scale and zero point where other pairs have them already. ``clip`` cuts off the codes that
    the type has and the format has not: numbers that grow later would reach them.
    """
    name, fmt = value.name or "value", qparams.format
    axis = {} if qparams.axis is None else {"axis": qparams.axis}
    params = parameters(rw, qparams, name) if params is None else params
    coded = f"{name}_quantized"
    codes = rw.op("QuantizeLinear", [value, *params], axis, like=value, dtype=fmt.ir_dtype, output=coded)
    whole = np.iinfo(fmt.dtype)
    if clip and (fmt.qmin, fmt.qmax) != (whole.min, whole.max):
        ends = [rw.const(np.asarray(end, fmt.dtype), f"{name}_code") for end in (fmt.qmin, fmt.qmax)]
        codes = rw.op("Clip", [codes, *ends], like=codes)
    real = rw.op("DequantizeLinear", [codes, *params], axis, like=value, output=f"{name}_dequantized")
    rw.interpose(value, real, readers)
    return real
