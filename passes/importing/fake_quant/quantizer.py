"""What every dialect of fake quantization says, and how it is written as QuantizeLinear/DequantizeLinear.

    code = clip(round(x / scale) + zero_point, low, high)        y = (code − zero_point) · scale

Dialects differ in how they write scale, zero point, low and high; that is each recogniser's algebra. Here
low … high may be any codes. They are held by the narrowest type of the file's opset that has room for them
and for the zero point; what the type could hold beyond them is cut off by a Clip on the real numbers:

    Clip(x, (low − zero_point)·scale, (high − zero_point)·scale) → QuantizeLinear → DequantizeLinear

which gives the same codes to the bit, since rounding keeps order and both bounds lie on the grid. With one
scale per channel the Clip stands on the codes instead, as its bounds are single numbers.

Constants become their codes behind one DequantizeLinear, rounded by the dialect's own rule: int8 with zero
point 0 where they fit. Zero points between two codes (levels −3, −1, 1, 3) take the grid of half the step.

Activations are rounded as ONNX does it: to even before the zero point is added. Dialects that round after
adding it, or ties upwards, differ on exact ties x = (n + ½)·scale alone.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import static_shape
from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.fake_quant.parameters import Refused, opset
from onnxq.quant.formats import INT8, INT16, INT32, UINT8, UINT16, IntFormat
from onnxq.quant.qdq import scale_and_zero_point

__all__ = ["Quantizer", "check_scale", "emit"]

_TINY = float(np.finfo(np.float32).tiny)
_WHOLE = 1e-3
"""How far, in codes, a zero point computed from float32 ranges may be from a whole number."""

OPSET_16_BIT = 21
OPSET_AXIS = 13
_OPSET_CLIP_INPUTS = 11


@dataclass(frozen=True, eq=False)
class Quantizer:
    """scale, zero_point: float64, rank 0 or [C] along ``axis`` of x. low, high: whole numbers.

    ``out_scale`` and ``out_zero_point`` are given where codes are read on another grid than they were made.
    """

    scale: FloatArray
    zero_point: FloatArray
    low: int
    high: int
    axis: int | None = None
    out_scale: FloatArray | None = None
    out_zero_point: FloatArray | None = None

    @property
    def out(self) -> tuple[FloatArray, FloatArray]:
        """Scale and zero point that codes are read with."""
        scale = self.scale if self.out_scale is None else self.out_scale
        return scale, self.zero_point if self.out_zero_point is None else self.out_zero_point

    def along(self, array: Array, axes: int) -> Array:
        """A parameter shaped to meet a tensor of ``axes`` axes."""
        if array.ndim == 0 or self.axis is None:
            return array
        return array.reshape([-1 if i == self.axis else 1 for i in range(axes)])

    def codes(self, x: FloatArray) -> FloatArray:
        """Codes of a constant before clipping, rounded as ONNX does, computed in float32."""
        scale = self.along(self.scale.astype(np.float32), x.ndim)
        codes: FloatArray = np.rint(x.astype(np.float32) / scale) + self.along(self.zero_point, x.ndim)
        return codes


def emit(x: ir.Value, q: Quantizer, rw: Rewriter, *, codes: FloatArray | None = None) -> ir.Value:
    """Prepare the Q/DQ form of a quantizer of ``x``; its output.

    ``codes`` are those of a constant x, before clipping, by the dialect's own rounding.

    Raises:
        Refused: nothing exact exists; says why.
    """
    scale, zero_point = q.out
    for found in (q.scale, scale):
        check_scale(found)
    _check_length(x, q)
    if codes is not None:
        name = x.name or "weight"
        return _dequantize_codes(np.clip(codes, q.low, q.high), scale, zero_point, q.axis, rw, name)
    return _pair(x, q, rw)


def _pair(x: ir.Value, q: Quantizer, rw: Rewriter) -> ir.Value:
    """QuantizeLinear and DequantizeLinear; a Clip where the type is wider, per channel of the codes."""
    if x.dtype not in (None, ir.DataType.FLOAT):
        raise Refused(f"it quantizes {x.dtype.name.lower() if x.dtype else '?'}; Q/DQ here is float32")
    scale, zero_point = q.out
    inner, outer = _nearest_whole(q.zero_point), _nearest_whole(zero_point)
    fmt, move = _format(opset(rw), q, inner, outer)
    low, high = q.low + move, q.high + move
    inner, outer = ((z + move).astype(fmt.dtype) for z in (inner, outer))
    name = x.name or "value"
    narrower = (low, high) != (fmt.qmin, fmt.qmax)
    if narrower and q.axis is None:
        x = _clip(x, (low - float(inner)) * q.scale, (high - float(inner)) * q.scale, rw)
    first = _constants((q.scale, inner), name, rw)
    same = np.array_equal(q.scale, scale) and np.array_equal(inner, outer)
    second = first if same else _constants((scale, outer), f"{name}_out", rw)
    attributes = {} if q.axis is None else {"axis": q.axis}
    made = rw.op("QuantizeLinear", [x, *first], attributes, like=x, dtype=fmt.ir_dtype)
    if narrower and q.axis is not None:
        bounds = [rw.const(np.asarray(n, fmt.dtype), f"{name}_code") for n in (low, high)]
        made = rw.op("Clip", [made, *bounds], like=made)
    return rw.op("DequantizeLinear", [made, *second], attributes, like=x, dtype=ir.DataType.FLOAT)


def _dequantize_codes(
    codes: FloatArray,
    scale: FloatArray,
    zero_point: FloatArray,
    axis: int | None,
    rw: Rewriter,
    name: str,
) -> ir.Value:
    """Prepare ``DequantizeLinear(codes, scale, zero_point)`` of a constant, in the smallest type with room.

    Raises:
        Refused: no type does, or a zero point lies between codes and not half-way.
    """
    shift = Quantizer(scale, zero_point, 0, 0, axis)
    zero: FloatArray
    try:
        zero = _nearest_whole(zero_point).astype(np.float64)
    except Refused:
        zero, codes, scale = _nearest_whole(2 * zero_point).astype(np.float64), 2 * codes, scale / 2
    centred = codes - shift.along(zero, codes.ndim)
    fmt, zero, codes = _constant_format(opset(rw), centred, zero, codes)
    params = scale, np.broadcast_to(zero, scale.shape).astype(fmt.dtype)
    attributes = {} if axis is None else {"axis": axis}
    inputs = [rw.const(codes.astype(fmt.dtype), f"{name}_quantized"), *_constants(params, name, rw)]
    kind, shape = ir.DataType.FLOAT, ir.Shape(codes.shape)
    return rw.op("DequantizeLinear", inputs, attributes, dtype=kind, shape=shape)


def _nearest_whole(zero_point: FloatArray) -> IntArray:
    """Zero points as int64.

    Raises:
        Refused: one lies between two codes: such a quantizer has no exact zero.
    """
    rounded = np.rint(zero_point)
    if np.max(np.abs(zero_point - rounded)) > _WHOLE:
        worst = float(zero_point.reshape(-1)[np.argmax(np.abs(zero_point - rounded).reshape(-1))])
        raise Refused(
            f"its zero point is {worst:.4g}, between two codes, so that zero is no level and Q/DQ cannot "
            "hold it; train with a range that has zero on its grid"
        )
    return rounded.astype(np.int64)


def check_scale(scale: FloatArray) -> None:
    """Accept scales that are normal float32 numbers.

    Raises:
        Refused: one is zero, negative, too small, infinite or NaN; names its channel.
    """
    with np.errstate(over="ignore"):
        single = scale.reshape(-1).astype(np.float32)
    bad = np.flatnonzero(np.logical_not((single >= _TINY) & np.isfinite(single)))
    if bad.size:
        where = f" of channel {bad[0]}" if scale.ndim else ""
        raise Refused(
            f"its scale{where} is {float(scale.reshape(-1)[bad[0]]):.3g}: its range never saw data; "
            "calibrate it again"
        )


def _check_length(x: ir.Value, q: Quantizer) -> None:
    shape = static_shape(x)
    if q.axis is not None and shape is not None and shape[q.axis] != q.scale.size:
        raise Refused(f"it has {q.scale.size} scales for the {shape[q.axis]} channels of axis {q.axis}")


def _format(version: int, q: Quantizer, inner: IntArray, outer: IntArray) -> tuple[IntFormat, int]:
    """The type of the codes of an activation, and by how much codes and zero points move."""
    if q.axis is not None and version < OPSET_AXIS:
        raise Refused(f"opset {version} has one scale a tensor; run raise-opset first")
    low = min(q.low, int(inner.min()), int(outer.min()))
    high = max(q.high, int(inner.max()), int(outer.max()))
    wide = [INT16, UINT16] if version >= OPSET_16_BIT else []
    order = [UINT8, INT8] if q.low >= 0 else [INT8, UINT8]
    for fmt in (*order, *wide):
        if fmt.qmin <= low and high <= fmt.qmax:
            return fmt, 0
    for fmt in (UINT8, *wide[1:]):
        if high - low <= fmt.qmax:
            return fmt, -low
    need = f"codes and zero points from {low} to {high}"
    hint = "; raise-opset{opset=21} has 16 bits" if version < OPSET_16_BIT else ""
    raise Refused(f"no type of opset {version} holds {need}{hint}")


def _constant_format(
    version: int, centred: FloatArray, zero: FloatArray, codes: FloatArray
) -> tuple[IntFormat, FloatArray, FloatArray]:
    """Type, zero points and codes of a constant whose codes less their zero points are ``centred``."""
    none = np.zeros(zero.shape)
    low, high = float(centred.min(initial=0)), float(centred.max(initial=0))
    if INT8.qmin <= low and high <= INT8.qmax:
        return INT8, none, centred
    bounds = min(codes.min(initial=0), zero.min()), max(codes.max(initial=0), zero.max())
    for fmt in (UINT8, INT8):
        if fmt.qmin <= bounds[0] and bounds[1] <= fmt.qmax:
            return fmt, zero, codes
    wide = [INT16] if version >= OPSET_16_BIT else []
    for fmt in (*wide, INT32):
        if fmt.qmin <= low and high <= fmt.qmax:
            return fmt, none, centred
    raise Refused(f"its codes run from {low:.4g} to {high:.4g}, which no integer type of ONNX's Q/DQ holds")


def _clip(x: ir.Value, low: FloatArray, high: FloatArray, rw: Rewriter) -> ir.Value:
    name = x.name or "value"
    if opset(rw) < _OPSET_CLIP_INPUTS:
        ends = {"min": float(np.float32(low)), "max": float(np.float32(high))}
        return rw.op("Clip", [x], ends, like=x, output=f"{name}_clipped")
    bounds = [
        rw.const(np.asarray(b, np.float32).reshape(()), f"{name}_{n}")
        for b, n in ((low, "low"), (high, "high"))
    ]
    return rw.op("Clip", [x, *bounds], like=x, output=f"{name}_clipped")


def _constants(params: tuple[FloatArray, IntArray], name: str, rw: Rewriter) -> list[ir.Value]:
    scale, zero_point = params
    zero_point = np.broadcast_to(zero_point, scale.shape)
    return scale_and_zero_point(rw, scale.astype(np.float32), zero_point, name)
