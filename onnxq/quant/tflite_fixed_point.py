"""Real multipliers as TFLite's reference kernels hold them, and the two roundings that they do.

    real = M·2^(left − 31 − right),  2^30 ≤ M < 2^31

    p = SaturatingRoundingDoublingHighMul(q·2^left, M) = (q·2^left·M + 2^30) >> 31
    y = RoundingDivideByPOT(p, right)                  = (p + 2^(right−1) − [p < 0]) >> right

The first rounds half up, the second half away from zero, and not at all where ``right`` is 0.
Source: QuantizeMultiplier in tensorflow/lite/kernels/internal/quantization_util.cc; gemmlowp,
fixedpoint/fixedpoint.h. Written as floors: ``(ab + nudge) / 2^31`` truncates there, and its nudge, 2^30 or
1 − 2^30 by the sign, makes that the same as a floor with 2^30.
"""

from dataclasses import dataclass

import numpy as np

from onnxq.graph.numeric import FloatArray, IntArray

__all__ = ["TfliteMultiplier", "tflite_multiplier"]

SMALLEST = 2.0**-32
"""TFLite multiplies by zero below this."""


@dataclass(frozen=True, eq=False)
class TfliteMultiplier:
    """int64 arrays of the shape of the real multiplier; ``factor`` is ``M << left``."""

    factor: IntArray
    left: IntArray
    right: IntArray


def tflite_multiplier(real: FloatArray) -> TfliteMultiplier:
    """QuantizeMultiplier of finite float64; its sign stays with ``factor``."""
    fraction, exponent = np.frexp(real)
    rounded = np.sign(fraction) * np.floor(np.abs(fraction) * 2.0**31 + 0.5)
    carry = np.abs(rounded) == 2.0**31
    mantissa = np.where(carry, rounded / 2, rounded).astype(np.int64)
    exponent = exponent.astype(np.int64) + carry
    tiny = (np.abs(real) < SMALLEST) | (exponent < -31)
    mantissa, exponent = np.where(tiny, 0, mantissa), np.where(tiny, 0, exponent)
    left = np.maximum(exponent, 0)
    return TfliteMultiplier(mantissa << left, left, np.maximum(-exponent, 0))
