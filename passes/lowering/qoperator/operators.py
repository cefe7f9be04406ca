"""Which function lowers which operator: in the standard, and with ONNX Runtime's own operators.

Each takes the region in front of a QuantizeLinear, prepares nodes through the Rewriter and returns the codes.
It raises Refused with the reason where it cannot.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.qoperator.elementwise import (
    lower_average_pool,
    lower_binary,
    lower_concat,
    lower_mean,
    lower_softmax,
    lower_unary,
    lower_where,
)
from onnxq.passes.lowering.qoperator.linear import (
    lower_conv,
    lower_gemm,
    lower_matmul,
    lower_qgemm,
    lower_short_matmul,
)

__all__ = ["CONTRIB", "STANDARD", "Lowering"]

Lowering: TypeAlias = Callable[[Region, Rewriter], ir.Value]

STANDARD: Mapping[str, Lowering] = {"Conv": lower_conv, "Gemm": lower_gemm, "MatMul": lower_matmul}
"""Operators of ai.onnx only."""

CONTRIB: Mapping[str, Lowering] = {
    **STANDARD,
    "Add": lower_binary,
    "AveragePool": lower_average_pool,
    "Concat": lower_concat,
    "Gemm": lower_qgemm,
    "GlobalAveragePool": lower_unary,
    "LeakyRelu": lower_unary,
    "MatMul": lower_short_matmul,
    "Mul": lower_binary,
    "ReduceMean": lower_mean,
    "Sigmoid": lower_unary,
    "Softmax": lower_softmax,
    "Where": lower_where,
}
"""With operators of com.microsoft where the standard has none."""
