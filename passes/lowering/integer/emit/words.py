"""Arithmetic on machine words: sums that may wrap, shifts of unsigned words, and casts between them."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter

__all__ = ["Words", "cast"]


def cast(rw: Rewriter, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """The value in another integer type, two's complement; itself if it has that type."""
    if value.dtype == dtype:
        return value
    return rw.op("Cast", [value], {"to": int(dtype)}, like=value, dtype=dtype)


class Words:
    """Nodes on the way to ``result``: sums in one type, shifts in an unsigned one.

    An operand of the other type is cast; a constant is wrapped into the type.
    """

    def __init__(self, rw: Rewriter, result: ir.Value, sums: ir.DataType, shifts: ir.DataType) -> None:
        self.rw, self.result, self.sums, self.shifts = rw, result, sums, shifts

    def op(self, op: str, a: ir.Value, b: ir.Value | IntArray | np.int64) -> ir.Value:
        """Prepare ``op(a, b)`` in the type of sums."""
        right = self.cast(b) if isinstance(b, ir.Value) else self.number(b, "addend", self.sums)
        return self.rw.op(op, [self.cast(a), right], dtype=self.sums, shape=self.shape(a, right))

    def cast(self, value: ir.Value) -> ir.Value:
        """The value in the type of sums."""
        return cast(self.rw, value, self.sums)

    def product(self, value: ir.Value, multiplier: IntArray) -> ir.Value:
        """Prepare a Mul by a constant."""
        return self.op("Mul", value, self.number(multiplier, "multiplier", self.sums))

    def sum(self, values: Sequence[ir.Value]) -> ir.Value:
        """Prepare the Adds of one or more values."""
        total, *rest = values
        for value in rest:
            total = self.op("Add", total, value)
        return total

    def shift(self, value: ir.Value, bits: int | IntArray, direction: str = "RIGHT") -> ir.Value:
        """Prepare a BitShift of the unsigned word."""
        by = self.number(np.asarray(bits), "shift", self.shifts)
        operands, shape = [cast(self.rw, value, self.shifts), by], self.shape(value, by)
        return self.rw.op("BitShift", operands, {"direction": direction}, dtype=self.shifts, shape=shape)

    def clip(self, value: ir.Value, low: int, high: int) -> ir.Value:
        """Prepare a Clip of the unsigned word."""
        ends = [self.number(np.int64(end), "bound", self.shifts) for end in (low, high)]
        operands, shape = [cast(self.rw, value, self.shifts), *ends], self.shape(value, value)
        return self.rw.op("Clip", operands, dtype=self.shifts, shape=shape)

    def shape(self, a: ir.Value, b: ir.Value) -> ir.Shape | None:
        """That of ``a`` where ``b`` is one number or of the same shape, else that of the result."""
        own = b.shape is not None and (b.shape.rank() == 0 or b.shape == a.shape)
        shape = a.shape if own else self.result.shape
        return None if shape is None else shape.copy()

    def number(self, array: IntArray | np.int64, what: str, dtype: ir.DataType) -> ir.Value:
        """A constant in one of the types."""
        return self.rw.const(np.asarray(array).astype(dtype.numpy()), f"{self.result.name or 'codes'}_{what}")
