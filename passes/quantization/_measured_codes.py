"""Codes whose scale is measured while the model runs."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.quant.qparams import SMALLEST_SCALE

__all__ = ["MIDDLE", "Activation", "per_row", "per_tensor"]

MIDDLE = 128
"""The zero point of uint8 codes that are as far to both sides."""

_AXES_AS_INPUT = 18
"""The opset from which ReduceMax reads its axes from an input."""


@dataclass(frozen=True, eq=False)
class Activation:
    """Integer codes (uint8) of a tensor, with zero point and scale: numbers, or one scale a row."""

    codes: ir.Value
    zero_point: ir.Value
    scale: ir.Value


def per_tensor(x: ir.Value, rw: Rewriter) -> Activation:
    """One scale and zero point for the whole tensor, by DynamicQuantizeLinear."""
    codes = rw.op("DynamicQuantizeLinear", [x], like=x, dtype=ir.DataType.UINT8, outputs=3)
    maker = codes.producer()
    assert maker is not None, "a prepared value has a node"
    _, scale, zero_point = maker.outputs
    for value, dtype in ((scale, ir.DataType.FLOAT), (zero_point, ir.DataType.UINT8)):
        value.type, value.shape = ir.TensorType(dtype), ir.Shape([])
    return Activation(codes, zero_point, scale)


def per_row(x: ir.Value, rw: Rewriter, opset: int) -> Activation:
    """One scale for each row of the last axis: s = max|x| / 127, at least the smallest that counts.

    The zero point is 128, since ONNX Runtime is fastest with unsigned codes on the left.
    """
    name, shape = x.name or "x", None
    if x.shape is not None:
        shape = ir.Shape([*list(x.shape)[:-1], 1])

    def number(value: float, what: str) -> ir.Value:
        return rw.const(np.asarray(value, np.float32), f"{name}_{what}")

    size = rw.op("Abs", [x], like=x)
    axes = rw.const(np.array([-1]), f"{name}_last_axis")
    by_input = opset >= _AXES_AS_INPUT
    largest = rw.op(
        "ReduceMax",
        [size, axes] if by_input else [size],
        {"keepdims": 1, "axes": None if by_input else [-1]},
        dtype=ir.DataType.FLOAT,
        shape=shape,
    )
    # ONNX Runtime keeps the full last axis of a tensor without rows: cut it to one.
    ends = [rw.const(np.array([end]), f"{name}_first_{end}") for end in (0, 1)]
    largest = rw.op("Slice", [largest, *ends, axes], like=largest)
    step = rw.op("Mul", [largest, number(1 / 127, "step")], like=largest)
    scale = rw.op("Max", [step, number(SMALLEST_SCALE, "smallest")], like=largest)
    steps = rw.op("Div", [x, scale], like=x, dtype=ir.DataType.FLOAT)
    middle = rw.const(np.asarray(MIDDLE, np.uint8), f"{name}_zero_point")
    one = number(1.0, "one")
    codes = rw.op("QuantizeLinear", [steps, one, middle], like=x, dtype=ir.DataType.UINT8)
    return Activation(codes, middle, scale)
