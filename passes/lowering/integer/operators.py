"""Which function lowers which operator. A new operator is a new function in this table.

Each takes the region in front of a QuantizeLinear, prepares integer nodes through the Rewriter and returns
the codes. It raises Refused with the reason where it cannot.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.addition import lower_addition
from onnxq.passes.lowering.integer.convolution import lower_conv
from onnxq.passes.lowering.integer.matmul import lower_matmul
from onnxq.passes.lowering.integer.pooling import lower_average_pool, lower_reduction
from onnxq.passes.lowering.integer.product import lower_division, lower_product
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.selection import lower_selection
from onnxq.passes.lowering.integer.softmax import lower_softmax

__all__ = ["OPERATORS", "Lowering"]

Lowering: TypeAlias = Callable[[Region, Rewriter], ir.Value]

OPERATORS: Mapping[str, Lowering] = {
    "Add": lower_addition,
    "AveragePool": lower_average_pool,
    "Concat": lower_selection,
    "Conv": lower_conv,
    "Div": lower_division,
    "Gemm": lower_matmul,
    "GlobalAveragePool": lower_reduction,
    "MatMul": lower_matmul,
    "Max": lower_selection,
    "Min": lower_selection,
    "Mul": lower_product,
    "ReduceMean": lower_reduction,
    "ReduceSum": lower_reduction,
    "Softmax": lower_softmax,
    "Sub": lower_addition,
    "Where": lower_selection,
}
