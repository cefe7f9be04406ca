"""Integer tensors of a Q/DQ graph, what their codes mean, and the reasons why something stays float."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant
from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.quant.qparams import QParams

__all__ = [
    "CODE_BITS",
    "SCALE",
    "ZERO_POINT",
    "Operand",
    "Operands",
    "Refused",
    "describe_codes",
    "real_constant",
]

CODE_BITS = (8, 16)
"""Widths of the codes that integer operators read and make."""


SCALE, ZERO_POINT = "onnxq.scale", "onnxq.zero_point"
"""Keys of a tensor's metadata; of the model's, with the name of the tensor behind a point."""


class Refused(Exception):
    """Why a node cannot be lowered; the pass adds the node's name."""


@dataclass(frozen=True, eq=False)
class Operand:
    """An integer tensor and its parameters: it stands for the float tensor ``(codes − z)·s``."""

    codes: ir.Value
    qparams: QParams

    @cached_property
    def array(self) -> IntArray | None:
        """The codes of a constant, int64."""
        codes = constant(self.codes)
        return None if codes is None else codes.astype(np.int64)

    @property
    def per_tensor(self) -> bool:
        """Whether one scale holds for the whole tensor."""
        return self.qparams.axis is None

    @property
    def scale(self) -> float:
        """The one scale, exactly the float32 of the file."""
        return float(self.qparams.scale.reshape(-1)[0])

    @property
    def zero_point(self) -> int:
        """The one zero point."""
        return int(self.qparams.zero_point.reshape(-1)[0])

    @property
    def low(self) -> int:
        """The least ``codes − z``."""
        return self.qparams.format.qmin - self.zero_point

    @property
    def high(self) -> int:
        """The greatest ``codes − z``."""
        return self.qparams.format.qmax - self.zero_point

    @property
    def wide(self) -> bool:
        """Whether the codes have 16 bits."""
        return self.qparams.format.bits == 16

    @property
    def levels(self) -> int:
        """How many codes there are."""
        return self.qparams.format.levels

    def require_codes(self, what: str) -> None:
        """Accept per-tensor codes of 8 and 16 bits, which integer operators read.

        Raises:
            Refused: it is anything else.
        """
        if self.qparams.format.bits not in CODE_BITS or not self.per_tensor:
            kind = f"{self.qparams.format}, {'per tensor' if self.per_tensor else 'per channel'}"
            raise Refused(f"{what} is {kind}; integer operators read 8 or 16 bits with one scale")


def describe_codes(codes: ir.Value, qparams: QParams | None) -> None:
    """Note at a tensor what its codes mean, for golden vectors and whoever else reads the file."""
    if qparams is not None:
        codes.metadata_props[SCALE] = str(qparams.scale.reshape(-1)[0])
        codes.metadata_props[ZERO_POINT] = str(int(qparams.zero_point.reshape(-1)[0]))


class Operands(Protocol):
    """The float values of the Q/DQ graph that integer tensors stand for."""

    def get(self, value: ir.Value, /) -> Operand | None:
        """The integer tensor that stands for a float value; None if the value is really float."""


def real_constant(value: ir.Value | None, operands: Operands) -> FloatArray | None:
    """The real numbers of a constant, float or behind a DequantizeLinear, as float64; None if it is none."""
    if value is not None and (operand := operands.get(value)) is not None:
        codes = operand.array
        return None if codes is None else operand.qparams.dequantize(codes).astype(np.float64)
    array: Array | None = constant(value)
    return array.astype(np.float64) if array is not None and array.dtype == np.float32 else None
