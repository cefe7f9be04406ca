"""A sum divided by its length is a mean."""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.length_rules import reduced_axes
from onnxq.graph.match import get_input, is_float, producer, scalar, sole_consumer
from onnxq.graph.opset import opset
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FuseReduceMean"]

_RTOL = 1e-6


@dataclass(frozen=True)
class FuseReduceMean(NodePass):
    """Replace a ReduceSum divided by the number of its elements by a ReduceMean.

           y = ReduceSum(x, axes) / n      or · (1/n),  n = the product of the axes' lengths
        => y = ReduceMean(x, axes)

    Applies where these lengths are known and nothing else reads the sum. The number may be off by one
    part in a million, as 1/n in float32 is.
    """

    name = "fuse-reduce-mean"
    contract = Contract.EXACT
    root = ("Mul", "Div")

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        for side in (0, 1) if node.op_type == "Mul" else (0,):
            total, number = producer(node, side, "ReduceSum"), scalar(get_input(node, 1 - side))
            count = None if total is None else _count(total)
            if total is None or number is None or not count or sole_consumer(total.outputs[0]) is not node:
                continue
            ratio = number * count if node.op_type == "Mul" else number / count
            if is_float(total.inputs[0]) and math.isclose(ratio, 1, rel_tol=_RTOL):
                return _fuse(total, node, rw)
        return None


def _fuse(total: ir.Node, node: ir.Node, rw: Rewriter) -> None:
    axes = reduced_axes(total)
    attributes: dict[str, ir.Attr | list[int]] = (
        {"keepdims": total.attributes["keepdims"]} if "keepdims" in total.attributes else {}
    )
    inputs = [total.inputs[0]]
    if opset(rw.model) >= 18:
        inputs.append(rw.const(np.asarray(axes, np.int64), f"{node.outputs[0].name}_axes"))
    else:
        attributes["axes"] = list(axes)
    rw.replace([total, node], rw.op("ReduceMean", inputs, attributes, like=node.outputs[0]))


def _count(total: ir.Node) -> int | None:
    """How many elements are summed; None where that is not known."""
    x, axes = total.inputs[0], reduced_axes(total)
    if x is None or x.shape is None or not axes:
        return None
    lengths = [x.shape[axis] for axis in axes]
    known = [length for length in lengths if isinstance(length, int)]
    return math.prod(known) if len(known) == len(lengths) else None
