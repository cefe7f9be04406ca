"""Which function lowers which operator. A new operator is a new function in this table.

Each takes the region in front of a QuantizeLinear, prepares integer nodes through the Rewriter and returns
the codes. It raises Refused with the reason where it cannot.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.functions.division import lower_division
from onnxq.passes.lowering.integer.functions.length import lower_length, lower_lp_normalization
from onnxq.passes.lowering.integer.functions.log_softmax import lower_log_softmax
from onnxq.passes.lowering.integer.functions.normalization import lower_instance_norm, lower_layer_norm
from onnxq.passes.lowering.integer.functions.softmax import lower_softmax
from onnxq.passes.lowering.integer.linear.addition import lower_addition
from onnxq.passes.lowering.integer.linear.convolution import lower_conv
from onnxq.passes.lowering.integer.linear.integer_input import lower_cast
from onnxq.passes.lowering.integer.linear.interpolation import lower_resize
from onnxq.passes.lowering.integer.linear.matmul import lower_matmul
from onnxq.passes.lowering.integer.linear.mean import lower_reduction
from onnxq.passes.lowering.integer.linear.pooling import lower_average_pool
from onnxq.passes.lowering.integer.linear.prelu import lower_prelu
from onnxq.passes.lowering.integer.linear.product import lower_product
from onnxq.passes.lowering.integer.linear.transposed_convolution import lower_conv_transpose
from onnxq.passes.lowering.integer.movement.selection import (
    lower_constant_move,
    lower_pad,
    lower_selection,
)
from onnxq.passes.lowering.integer.region import Region

__all__ = ["OPERATORS", "Lowering"]

Lowering: TypeAlias = Callable[[Region, Rewriter], ir.Value]

OPERATORS: Mapping[str, Lowering] = {
    "Add": lower_addition,
    "AveragePool": lower_average_pool,
    "Concat": lower_selection,
    "Cast": lower_cast,
    "Conv": lower_conv,
    "ConvTranspose": lower_conv_transpose,
    "Div": lower_division,
    "Expand": lower_constant_move,
    "Gather": lower_constant_move,
    "Gemm": lower_matmul,
    "GlobalAveragePool": lower_reduction,
    "InstanceNormalization": lower_instance_norm,
    "LayerNormalization": lower_layer_norm,
    "LogSoftmax": lower_log_softmax,
    "LpNormalization": lower_lp_normalization,
    "MatMul": lower_matmul,
    "Max": lower_selection,
    "Mean": lower_addition,
    "Min": lower_selection,
    "Mul": lower_product,
    "PRelu": lower_prelu,
    "Pad": lower_pad,
    "RMSNormalization": lower_layer_norm,
    "ReduceL2": lower_length,
    "ReduceMean": lower_reduction,
    "ReduceSum": lower_reduction,
    "Resize": lower_resize,
    "Slice": lower_constant_move,
    "Softmax": lower_softmax,
    "Sub": lower_addition,
    "Sum": lower_addition,
    "Where": lower_selection,
}
