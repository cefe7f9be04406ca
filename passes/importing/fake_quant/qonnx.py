"""QONNX (Brevitas, FINN): Quant / IntQuant, BipolarQuant, Trunc and FloatQuant.

    Quant(x, s, z, b)      y = (round(clamp(x/s + z, low, high)) − z)·s

        low, high = −2^(b−1) + narrow, 2^(b−1) − 1          signed
                    0, 2^b − 1 − narrow                     unsigned
        round: ROUND (to even), FLOOR, CEIL, UP, DOWN, HALF_UP, HALF_DOWN;  b need not be whole
        b = 1 and signed: BipolarQuant of x/s + z

    BipolarQuant(x, s)     y = s where x ≥ 0, −s elsewhere
    Trunc(x, s, z, b, b')  y = (round(⌊x/s + z⌉ / 2^(b−b')) − z)·s
    FloatQuant(x, s, e, m, bias, max)    the minifloat of 1 + e + m bits nearest to x/s, times s

A Quant that rounds to even becomes QuantizeLinear/DequantizeLinear of the nearest wider type with a tighter
Clip. The other roundings, the truncation and the sign are computed by standard operators in front of the
pair, whose QuantizeLinear then meets numbers on its grid and changes none. FloatQuant is taken where it is
one of ONNX's four 8-bit floats with saturation.

Source: QONNX operator definitions (fastmachinelearning/qonnx, docs/qonnx-custom-ops) and its executor.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, is_op, producer
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.fake_quant.parameters import (
    Refused,
    channel_axis,
    opset,
    required,
    settled,
    whole,
)
from onnxq.passes.importing.fake_quant.qonnx_rounding import ROUND, number_like, rounded, rounding_mode
from onnxq.passes.importing.fake_quant.quantizer import Quantizer, emit
from onnxq.quant.formats import INT8, UINT8
from onnxq.quant.qdq import scale_and_zero_point

__all__ = ["DOMAINS", "OPERATORS"]

DOMAINS = frozenset({"qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"})

_MOST_BITS = 32
_FLOATS = {
    (4, 3, 7, 448.0): ir.DataType.FLOAT8E4M3FN,
    (4, 3, 8, 240.0): ir.DataType.FLOAT8E4M3FNUZ,
    (5, 2, 15, 57344.0): ir.DataType.FLOAT8E5M2,
    (5, 2, 16, 57344.0): ir.DataType.FLOAT8E5M2FNUZ,
}
"""Bits of exponent and mantissa, bias and largest number of ONNX's 8-bit floats."""

_OPSET_FLOAT8 = 19


def quant(node: ir.Node, rw: Rewriter) -> None:
    """Quant and IntQuant."""
    x = _data(node)
    bits, mode = required(node, 3, "bit width"), rounding_mode(node, "ROUND")
    scale, zero_point = _grid(node)
    axis, (scale, zero_point) = channel_axis(x, scale, zero_point)
    if np.ptp(bits) or not 1 <= float(bits.min()) <= _MOST_BITS:
        raise Refused(f"its bit width must be one number from 1 to {_MOST_BITS}, found {bits.tolist()}")
    signed = bool(node.attributes.get_int("signed", 1))
    if float(bits.min()) == 1 and signed:
        return _replace_bipolar(node, x, Quantizer(scale, zero_point, -1, 1, axis), rw)
    low, high = _bounds(float(bits.min()), signed, bool(node.attributes.get_int("narrow", 0)), mode)
    q = Quantizer(scale, zero_point, low, high, axis)
    real = settled(x)
    if real is not None:
        clipped = np.clip(_scaled(real, q), np.float32(low), np.float32(high))
        rw.replace(node, emit(x, q, rw, codes=ROUND[mode](clipped)))
        return None
    if mode not in ("ROUND", "HALF_EVEN"):
        x = _on_grid(x, q, mode, rw)
    rw.replace(node, emit(x, q, rw))
    return None


def bipolar(node: ir.Node, rw: Rewriter) -> None:
    """BipolarQuant."""
    axis, (scale,) = channel_axis(_data(node), required(node, 1, "scale"))
    _replace_bipolar(node, _data(node), Quantizer(scale, np.zeros(scale.shape), -1, 1, axis), rw)


def truncate(node: ir.Node, rw: Rewriter) -> None:
    """Trunc, both versions: the second (six inputs) has an output scale and clamps."""
    x, mode = _data(node), rounding_mode(node, "FLOOR")
    scale, zero_point = _grid(node)
    axis, (scale, zero_point) = channel_axis(x, scale, zero_point)
    if axis is not None:
        raise Refused("it truncates per channel; Q/DQ of activations has one scale")
    second = len(node.inputs) == 6
    bits = whole(required(node, 5 if second else 4, "output bit width"), "output bit width")
    out_scale = required(node, 4, "output scale") if second else scale
    dropped = np.log2(out_scale / scale) if second else required(node, 3, "input bit width") - bits
    factor = 2.0 ** np.rint(dropped)
    out_zero = zero_point / factor if second else zero_point
    low, high = _truncated_bounds(node, x, bits, mode, second)
    q = Quantizer(out_scale, out_zero, low, high)
    real = settled(x)
    if real is not None:
        codes = ROUND[mode](np.rint(_scaled(real, Quantizer(scale, zero_point, 0, 0))) / factor)
        rw.replace(node, emit(x, q, rw, codes=codes))
        return
    number = number_like(rw, x)
    value = rw.op("Div", [x, number(scale)], like=x)
    value = rw.op("Add", [value, number(zero_point)], like=x) if zero_point.any() else value
    value = rw.op("Div", [rw.op("Round", [value], like=x), number(factor)], like=x)
    value = rounded(mode, value, x, rw)
    value = rw.op("Sub", [value, number(out_zero)], like=x) if out_zero.any() else value
    rw.replace(node, emit(rw.op("Mul", [value, number(out_scale)], like=x), q, rw))


def minifloat(node: ir.Node, rw: Rewriter) -> None:
    """FloatQuant."""
    x = _data(node)
    names = ("exponent width", "mantissa width", "exponent bias", "largest value")
    numbers = [float(required(node, i + 2, name).reshape(-1)[0]) for i, name in enumerate(names)]
    dtype = _FLOATS.get((int(numbers[0]), int(numbers[1]), int(numbers[2]), numbers[3]))
    plain = rounding_mode(node, "ROUND") == "ROUND" and node.attributes.get_int("saturation", 1) == 1
    if dtype is None or not plain:
        raise Refused(
            f"ONNX has no float of {numbers[0]:g} exponent and {numbers[1]:g} mantissa bits, bias "
            f"{numbers[2]:g}, largest {numbers[3]:g}, rounded to even and saturating: it stays FloatQuant"
        )
    if opset(rw) < _OPSET_FLOAT8:
        raise Refused(f"8-bit floats need opset {_OPSET_FLOAT8}; run raise-opset first")
    axis, (scale,) = channel_axis(x, required(node, 1, "scale"))
    attributes = {} if axis is None else {"axis": axis}
    zero_point = np.zeros(scale.shape, dtype.numpy())
    params = scale_and_zero_point(rw, scale.astype(np.float32), zero_point, x.name or "value")
    codes = rw.op("QuantizeLinear", [x, *params], attributes, like=x, dtype=dtype)
    rw.replace(node, rw.op("DequantizeLinear", [codes, *params], attributes, like=x))


def _replace_bipolar(node: ir.Node, x: ir.Value, q: Quantizer, rw: Rewriter) -> None:
    """The sign by Less and Where: a QuantizeLinear cannot round 0 and −1e-9 to different codes."""
    signs = Quantizer(q.scale, np.zeros(q.scale.shape), -1, 1, q.axis)
    real = settled(x)
    if q.zero_point.any():
        raise Refused("it has one bit and a zero point: its levels ±1 less that are not symmetric")
    if real is not None:
        rw.replace(node, emit(x, signs, rw, codes=np.where(real >= 0, 1.0, -1.0)))
        return
    if q.axis is not None:
        raise Refused("it takes signs with one scale per channel; Q/DQ of activations has one scale")
    number = number_like(rw, x)
    below = rw.op("Less", [x, number(np.zeros(()))], dtype=ir.DataType.BOOL, like=x)
    value = rw.op("Where", [below, number(-q.scale), number(q.scale)], like=x)
    rw.replace(node, emit(value, Quantizer(q.scale, q.zero_point, -128, 127), rw))


def _data(node: ir.Node) -> ir.Value:
    if (x := get_input(node, 0)) is None:
        raise Refused("its first input is missing")
    return x


def _grid(node: ir.Node) -> tuple[FloatArray, FloatArray]:
    return required(node, 1, "scale"), required(node, 2, "zero point")


def _bounds(bits: float, signed: bool, narrow: bool, mode: str) -> tuple[int, int]:
    """Lowest and highest code; of a fractional width, as the clamp in front of the rounding leaves them."""
    low = -(2.0 ** (bits - 1)) + narrow if signed else 0.0
    high = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - 1 - narrow
    low, high = (float(ROUND[mode](np.asarray(bound))) for bound in (low, high))
    return int(low), int(high)


def _truncated_bounds(node: ir.Node, x: ir.Value, bits: int, mode: str, second: bool) -> tuple[int, int]:
    """The codes behind a Trunc. Its first version neither clamps nor says whether they are signed."""
    signed, narrow = (bool(node.attributes.get_int(name, n)) for name, n in (("signed", 1), ("narrow", 0)))
    if second:
        return _bounds(bits, signed, narrow, mode)
    if _never_negative(x) and bits <= UINT8.bits:
        return UINT8.qmin, UINT8.qmax
    if bits >= INT8.bits:
        raise Refused(f"it does not say whether its {bits}-bit result is signed; it stays Trunc")
    return INT8.qmin, INT8.qmax


def _scaled(real: FloatArray, q: Quantizer) -> FloatArray:
    """x/s + z in float32."""
    scale, zero = (q.along(a.astype(np.float32), real.ndim) for a in (q.scale, q.zero_point))
    return np.asarray(real.astype(np.float32) / scale + zero)


def _on_grid(x: ir.Value, q: Quantizer, mode: str, rw: Rewriter) -> ir.Value:
    """x on the grid, by another rounding than QuantizeLinear's."""
    if q.axis is not None:
        raise Refused(f"it rounds {mode} with one scale per channel; Q/DQ of activations has one scale")
    number = number_like(rw, x)
    value = rw.op("Div", [x, number(q.scale)], like=x)
    if q.zero_point.any():
        value = rw.op("Add", [value, number(q.zero_point)], like=x)
    value = rounded(mode, value, x, rw)
    if q.zero_point.any():
        value = rw.op("Sub", [value, number(q.zero_point)], like=x)
    return rw.op("Mul", [value, number(q.scale)], like=x)


def _never_negative(x: ir.Value) -> bool:
    """Whether a value comes out of a Relu, or a DequantizeLinear that begins at zero, through pooling."""
    node = x.producer()
    while is_op(node, "AveragePool", "GlobalAveragePool", "MaxPool", "Reshape", "Transpose", "Mul"):
        node = producer(node, 0)
    if is_op(node, "DequantizeLinear"):
        zero = settled(get_input(node, 2)) if node is not None else None
        return zero is not None and zero.dtype.kind == "u" and not zero.any()
    return is_op(node, "Relu")


OPERATORS: Mapping[str, Callable[[ir.Node, Rewriter], None]] = {
    "BipolarQuant": bipolar,
    "FloatQuant": minifloat,
    "IntQuant": quant,
    "Quant": quant,
    "Trunc": truncate,
}
