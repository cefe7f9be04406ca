"""Which integer arithmetic a lowered model may use: its operators and types, and how it rounds."""

from dataclasses import dataclass
from enum import StrEnum

import onnx_ir as ir

from onnxq.errors import UsageError
from onnxq.quant.fixed_point import Rounding

__all__ = ["DEFAULT", "Dialect", "Profile"]


class Dialect(StrEnum):
    """Who is to run the model."""

    FAST = "fast"
    """ONNX Runtime from 1.24 on, and onnx.reference: 64-bit words, the types of the fastest kernels."""

    PORTABLE = "portable"
    """ONNX Runtime from 1.17 on too: signed 64-bit arithmetic, uint8 where older kernels know no int8."""

    INT32 = "int32"
    """Runtimes of 32-bit integers: nothing wider, nothing unsigned above 8 bits; multipliers in halves."""


@dataclass(frozen=True)
class Profile:
    """What all operators of one lowering have in common.

    Sums of products stay below ``2^accumulator_bits``; in the int32 dialect so does every other number.
    """

    rounding: Rounding = Rounding.HALF_EVEN
    dialect: Dialect = Dialect.FAST
    accumulator_bits: int = 31

    def __post_init__(self) -> None:
        if not 16 <= self.accumulator_bits <= 31:
            raise UsageError(
                f"max_accumulator_bits must be 16 to 31, found {self.accumulator_bits}: sums are int32"
            )
        if self.rounding == Rounding.TFLITE and self.dialect == Dialect.INT32:
            raise UsageError(
                "rounding=tflite needs 62-bit products, which dialect=int32 excludes: use fast or portable"
            )

    @property
    def short(self) -> bool:
        """Whether all numbers are to stay where float32 holds every integer."""
        return self.dialect == Dialect.INT32 and self.accumulator_bits < 31

    def words(self, bits: int) -> tuple[ir.DataType, ir.DataType]:
        """The types of sums and of shifts, in words of 32 or 64 bits."""
        unsigned = ir.DataType[f"UINT{bits}"]
        return (ir.DataType[f"INT{bits}"] if self.dialect == Dialect.PORTABLE else unsigned, unsigned)


DEFAULT = Profile()
