"""Integer number formats: how many bits, signed or not, and the codes they hold."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxq.errors import UsageError

__all__ = ["INT8", "INT16", "INT32", "UINT8", "UINT16", "IntFormat"]


@dataclass(frozen=True)
class IntFormat:
    """A two's-complement or unsigned integer of ``bits`` bits.

    ``narrow`` drops the lowest code of a signed format, so that the codes lie symmetrically round zero
    (int8: −127 … 127), as weights want it: −128·−128 is the one product that overflows 15 bits.
    """

    bits: int
    signed: bool
    narrow: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 32 or (self.narrow and not self.signed):
            raise UsageError(f"no such integer format: {self!r}; 2 to 32 bits, narrow only if signed")

    @classmethod
    def parse(cls, text: str) -> "IntFormat":
        """``int8``, ``uint16``, ``int4`` …

        Raises:
            UsageError: the text is none of these.
        """
        if not (found := re.fullmatch(r"(u?)int([2-9]|[12][0-9]|3[0-2])", text)):
            raise UsageError(f"'{text}' is no integer format; expected int8, uint8, int16, uint16, int4 …")
        return cls(int(found[2]), signed=not found[1])

    @cached_property
    def qmin(self) -> int:
        """The lowest code."""
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @cached_property
    def qmax(self) -> int:
        """The highest code."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def levels(self) -> int:
        """The number of codes."""
        return self.qmax - self.qmin + 1

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """The smallest numpy type that holds the codes."""
        size = next(width for width in (8, 16, 32) if width >= self.bits)
        return np.dtype(f"{'int' if self.signed else 'uint'}{size}")

    @property
    def ir_dtype(self) -> ir.DataType:
        """The ONNX type of :attr:`dtype`."""
        return ir.DataType.from_numpy(self.dtype)

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bits}"


INT8 = IntFormat(8, signed=True)
UINT8 = IntFormat(8, signed=False)
INT16 = IntFormat(16, signed=True)
UINT16 = IntFormat(16, signed=False)
INT32 = IntFormat(32, signed=True)
