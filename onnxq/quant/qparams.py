"""Affine quantization parameters, and how a range of real numbers becomes them.

    code = clip(round_half_even(x / scale) + zero_point, qmin, qmax)
    x'   = (code − zero_point) · scale

as ONNX's QuantizeLinear and DequantizeLinear define it. Scales are float32, because the files hold
float32; every computation that ends in codes starts from the rounded scale.
"""

from dataclasses import dataclass

import numpy as np

from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.quant.formats import IntFormat

__all__ = ["SMALLEST_SCALE", "QParams", "qparams_from_range"]

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""Below the smallest normal float32, runtimes that flush subnormals divide by zero."""

SHORT_SCALE_BITS = 16
"""A code of 8 bits times such a scale is exact in float32, and nothing is cut off by 0.004 of a code."""


@dataclass(frozen=True, eq=False)
class QParams:
    """Scale and zero point of one value: rank 0 per tensor, rank 1 along ``axis`` per channel.

    With a ``block`` they have the rank of the value, and each entry is for so many elements along ``axis``.
    scale: float32, finite and > 0. zero_point: of the format's dtype, same shape as scale.
    """

    scale: FloatArray
    zero_point: IntArray
    format: IntFormat
    axis: int | None = None
    block: int | None = None

    def broadcast(self, array: Array, rank: int) -> Array:
        """``scale`` or ``zero_point`` shaped to meet a tensor of ``rank`` axes."""
        if self.axis is None:
            return array
        if self.block is not None:
            return np.repeat(array, self.block, self.axis)
        shape = [1] * rank
        shape[self.axis] = -1
        return array.reshape(shape)

    def quantize(self, x: FloatArray) -> IntArray:
        """float32 of any shape → codes of the format's dtype; computed in float32, as runtimes do."""
        scale = self.broadcast(self.scale, x.ndim)
        zero_point = self.broadcast(self.zero_point, x.ndim).astype(np.int64)
        codes = np.rint(np.asarray(x, np.float32) / scale).astype(np.float64) + zero_point
        return np.clip(codes, self.format.qmin, self.format.qmax).astype(self.format.dtype)

    def dequantize(self, codes: IntArray) -> FloatArray:
        """Codes of any shape → float32."""
        scale = self.broadcast(self.scale, codes.ndim)
        zero_point = self.broadcast(self.zero_point, codes.ndim).astype(np.int64)
        real: FloatArray = (codes.astype(np.int64) - zero_point).astype(np.float32) * scale
        return real

    def same_as(self, other: "QParams") -> bool:
        """Whether both give every code the same meaning."""
        return (
            self.format == other.format
            and (self.axis, self.block) == (other.axis, other.block)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


def qparams_from_range(
    low: float | FloatArray,
    high: float | FloatArray,
    fmt: IntFormat,
    *,
    symmetric: bool = False,
    axis: int | None = None,
    power_of_two: bool = False,
    short: bool = False,
) -> QParams:
    """Parameters that cover ``[low, high]``, widened to hold zero exactly.

        asymmetric:  scale = (high − low) / (qmax − qmin),  zero_point = round(qmin − low / scale)
        symmetric:   scale = max(|low|, |high|) / min(qmax, −qmin),  zero_point = 0
                     (unsigned formats: zero_point = 2^(bits−1))

    A degenerate range (all zeros, or too small to divide by) gets scale 1, so that zero stays zero. With
    ``power_of_two`` the scale is rounded up to a power of two, so that nothing in the range is cut off.
    ``short`` rounds it to 16 significant bits: where an average has the scale of what it averages, results
    half-way between two codes are frequent, and float32 computes them exactly only with such a scale.
    ``low`` and ``high`` are numbers, or arrays of one entry a channel along ``axis``.
    """
    low, high = np.minimum(np.asarray(low, np.float64), 0.0), np.maximum(np.asarray(high, np.float64), 0.0)
    middle = 0 if fmt.signed else 1 << (fmt.bits - 1)
    if symmetric:
        scale = np.maximum(-low, high) / min(fmt.qmax - middle, middle - fmt.qmin)
    else:
        scale = (high - low) / (fmt.qmax - fmt.qmin)
    scale = np.where(scale > SMALLEST_SCALE, scale, 1.0)
    if power_of_two:
        scale = np.exp2(np.ceil(np.log2(scale) - 1e-6))
    if short:
        fraction, exponent = np.frexp(scale)
        scale = np.ldexp(np.rint(np.ldexp(fraction, SHORT_SCALE_BITS)), exponent - SHORT_SCALE_BITS)
    scale = scale.astype(np.float32)
    zero_point = (
        np.full(scale.shape, middle) if symmetric else np.rint(fmt.qmin - low / scale.astype(np.float64))
    )
    zero_point = np.clip(zero_point, fmt.qmin, fmt.qmax).astype(fmt.dtype)
    return QParams(scale, zero_point, fmt, axis)
