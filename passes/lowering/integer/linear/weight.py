"""Constant weights as integer operators want them: one zero point, int8 or uint8, and their sums' bounds."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.operand import Operand, Refused

__all__ = ["Weight", "read_weight"]


@dataclass(frozen=True, eq=False)
class Weight:
    """codes: int64. scale: float64 of shape [] or [channels]. One zero point for all channels."""

    codes: IntArray
    zero_point: int
    scale: FloatArray
    name: str

    def bounds(
        self, x: Operand, axes: tuple[int, ...], *, keepdims: bool = False
    ) -> tuple[IntArray, IntArray]:
        """Least and greatest Σ (w − z_w)·(x − z_x) over ``axes``, for any x; int64.

        Padding adds (w − z_w)·0, which lies between.
        """
        w = self.codes - self.zero_point
        ends = w * x.low, w * x.high
        low: IntArray = np.minimum(*ends).sum(axis=axes, keepdims=keepdims)
        high: IntArray = np.maximum(*ends).sum(axis=axes, keepdims=keepdims)
        return low, high

    def constants(self, rw: Rewriter, dtype: ir.DataType) -> tuple[ir.Value, ir.Value]:
        """Codes and zero point as int8 or uint8, moved by 128 if they are of the other type."""
        low, high = (-128, 127) if dtype == ir.DataType.INT8 else (0, 255)
        least, most = min(self.codes.min(), self.zero_point), max(self.codes.max(), self.zero_point)
        move = -128 if most > high else 128 if least < low else 0
        codes = (self.codes + move).astype(dtype.numpy())
        zero_point = np.asarray(self.zero_point + move, dtype.numpy())
        return rw.const(codes, self.name), rw.const(zero_point, f"{self.name}_zero_point")


def read_weight(operand: Operand, axis: int) -> Weight:
    """The weight in a constant operand, whose scales may lie along ``axis``.

    Raises:
        Refused: it is not constant, has more than 8 bits, scales along another axis, or several zero points.
    """
    codes, qparams = operand.array, operand.qparams
    if codes is None:
        raise Refused(f"its weight '{operand.codes.name}' is not constant")
    if codes.size == 0:
        raise Refused(f"its weight '{operand.codes.name}' has no elements")
    if qparams.format.bits > 8:
        raise Refused(f"its weight '{operand.codes.name}' is {qparams.format}; integer operators take 8 bits")
    if not operand.per_tensor and qparams.axis != axis:
        raise Refused(f"its weight has scales along axis {qparams.axis}; only axis {axis} leaves the sum")
    if np.ptp(qparams.zero_point.astype(np.int64)):
        raise Refused("its weight has a zero point per channel; quantize weights symmetrically")
    return Weight(codes, operand.zero_point, qparams.scale.astype(np.float64), operand.codes.name or "weight")
