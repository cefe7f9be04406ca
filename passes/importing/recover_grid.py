"""Float weights that were integers once get their old scale back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.grid import weight_grid
from onnxq.quant.operators import LINEAR, operands, weight_axis
from onnxq.quant.qdq import insert_pair

__all__ = ["RecoverGrid"]


@dataclass(frozen=True)
class RecoverGrid(Pass):
    """Find the scale of weights that a "float" model was dequantized with, and quantize them with it again.

           W  =>  DequantizeLinear(QuantizeLinear(W, s, z), s, z)        with fl32((q − z)·s) = W, to the bit

    Taken are float32 constants that Conv, ConvTranspose, Gemm and MatMul read as weights, where every element
    is a whole multiple of one s (or of one s for each output channel) within ±127, or within 255 steps with a
    zero point. Nothing changes but that the grid is known: insert-qdq then keeps it instead of choosing a
    scale of its own, which would round every weight a second time. Weights that are nearly but not exactly on
    a grid are left alone. See onnxq.quant.grid for how the scale is found.
    """

    name: ClassVar[str] = "recover-grid"
    contract: ClassVar[Contract] = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        for value, readers in _weights(rw.model).items():
            array = constant(value)
            axes = {weight_axis(node, len(value.shape or ())) for node in readers}
            if array is None or array.dtype != np.float32 or array.ndim < 2:
                continue
            qparams = weight_grid(array, axes.pop() if len(axes) == 1 else None)
            if qparams is not None and np.array_equal(qparams.dequantize(qparams.quantize(array)), array):
                insert_pair(rw, value, qparams, readers)


def _weights(model: ir.Model) -> dict[ir.Value, list[ir.Node]]:
    """Constants that linear operators read as weights, in graph order, with their readers."""
    found: dict[ir.Value, list[ir.Node]] = {}
    for node, value in _read(model):
        found.setdefault(value, []).append(node)
    return found


def _read(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Value]]:
    for node in all_nodes(model):
        index = operands(node).weight if is_op(node, *LINEAR) else None
        value = None if index is None else get_input(node, index)
        if value is not None and constant(value) is not None:
            yield node, value
