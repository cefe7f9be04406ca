"""Writing integer formulas: ``calc.op("Mul", a, 3)`` instead of a node, a constant, a type and a shape."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.reduction import reduce_axes, settled

__all__ = ["Arithmetic", "ExactArithmetic"]


class Arithmetic:
    """Nodes of two operands in one integer type; constants are named after ``name``."""

    def __init__(self, rw: Rewriter, name: str, dtype: ir.DataType) -> None:
        self.rw, self.name, self.dtype = rw, name, dtype

    def op(self, op: str, a: ir.Value, b: ir.Value | int, like: ir.Value | None = None) -> ir.Value:
        """Prepare ``op(a, b)``; the result has the shape of ``like``, or of ``a``."""
        right = self.number(b) if isinstance(b, int) else b
        return self.rw.op(op, [a, right], like=like or a, dtype=self.dtype)

    def divided(self, a: ir.Value, b: ir.Value | int) -> tuple[ir.Value, ir.Value]:
        """Prepare ``⌊a/b⌋`` and ``a mod b`` of numbers that are not negative."""
        return self.op("Div", a, b), self.op("Mod", a, b)

    def total(self, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        """Prepare the sums over axes, which stay as 1."""
        return reduce_axes(self.rw, "ReduceSum", value, axes)

    def compare(self, op: str, a: ir.Value, b: ir.Value) -> ir.Value:
        """Prepare ``op(a, b)`` as booleans of the shape of ``a``."""
        return self.rw.op(op, [a, b], like=a, dtype=ir.DataType.BOOL)

    def number(self, number: int) -> ir.Value:
        """A scalar constant."""
        return self.array(np.asarray(number, np.int64))

    def array(self, array: IntArray) -> ir.Value:
        """A constant."""
        return self.rw.const(array.astype(self.dtype.numpy()), f"{self.name}_constant")

    def clip(self, value: ir.Value, low: int, high: int) -> ir.Value:
        """Prepare a Clip; of int32, since int64 Clip is wrong in ONNX Runtime 1.21 to 1.31 on x86."""
        assert self.dtype == ir.DataType.INT32, "clip in int32"
        ends = [self.number(low), self.number(high)]
        return self.rw.op("Clip", [value, *ends], like=value, dtype=self.dtype)


class ExactArithmetic(Arithmetic):
    """Div without a rest to be cut off, ``(a − a mod b)/b``, and sums of their own: OpenVINO's mistakes.

    It computes chains of int32 as float32, and sums over axes wrongly together with what follows.
    """

    def op(self, op: str, a: ir.Value, b: ir.Value | int, like: ir.Value | None = None) -> ir.Value:
        if op != "Div":
            return super().op(op, a, b, like)
        whole = super().op("Sub", a, super().op("Mod", a, b, like), like)
        return super().op("Div", whole, b, like)

    def divided(self, a: ir.Value, b: ir.Value | int) -> tuple[ir.Value, ir.Value]:
        """``⌊a/b⌋`` and ``a mod b``, of negative numbers too."""
        rest = super().op("Mod", a, b)
        return super().op("Div", super().op("Sub", a, rest), b), rest

    def total(self, value: ir.Value, axes: Sequence[int]) -> ir.Value:
        return settled(self.rw, super().total(value, axes), value)
