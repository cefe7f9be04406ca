"""How many multiplications a node accumulates, from the shapes in the model."""

from math import prod

import onnx_ir as ir

from onnxq.graph.match import get_input, is_op

__all__ = ["macs"]


def macs(node: ir.Node) -> int:
    """Multiply-accumulates of Conv, ConvTranspose, MatMul and Gemm; 0 for others and for unknown shapes.

    An axis that is not known counts once: it is nearly always the batch.

        Conv           outputs · C_in/group · kernel          MatMul, Gemm   outputs · K
        ConvTranspose  inputs · C_out/group · kernel
    """
    weight = 3 if is_op(node, "QLinearConv", "QLinearMatMul") else 1
    x, w = _dims(get_input(node, 0)), _dims(get_input(node, weight))
    y = _dims(node.outputs[0])
    if x is None or w is None or y is None:
        return 0
    if is_op(node, "Conv", "ConvInteger", "QLinearConv"):
        return prod(y) * prod(w[1:])
    if is_op(node, "ConvTranspose"):
        return prod(x) * prod(w[1:])
    if is_op(node, "MatMul", "MatMulInteger", "QLinearMatMul") and x:
        return prod(y) * x[-1]
    if is_op(node, "Gemm") and len(x) == 2:
        return prod(y) * x[0 if node.attributes.get_int("transA", 0) else 1]
    return 0


def _dims(value: ir.Value | None) -> list[int] | None:
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else 1 for dim in value.shape]
