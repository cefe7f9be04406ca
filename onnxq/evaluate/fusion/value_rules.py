"""Which operators but products ONNX Runtime's CPU provider computes on codes."""

import onnx_ir as ir

from onnxq.evaluate.fusion.checks import no_sixteen, same_dtype, same_meaning
from onnxq.evaluate.fusion.edges import Edges
from onnxq.evaluate.fusion.verdict import Left
from onnxq.graph.match import is_op

__all__ = ["MOVES", "MOVES_8", "UNARY", "alike", "argmax", "move", "split", "unary", "where"]

MOVES = ("Expand", "Flatten", "Gather", "GatherElements", "Reshape", "Slice", "Squeeze", "Tile", "Transpose")
MOVES_8 = ("MaxPool", "ReduceMax", "ReduceMin", "Resize")
"""Those that move codes of 8 bits only."""
UNARY = ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax")


def unary(edges: Edges, node: ir.Node) -> str:
    """One operand, codes of one dtype on both sides."""
    x, result = edges.input(node, 0), edges.result(node)
    same_dtype(x, result.codes, edges.int8_allowed)
    no_sixteen(x)
    return result.clamped(f"QLinear{node.op_type}")


def alike(edges: Edges, node: ir.Node) -> str:
    """Operands and result all of one dtype."""
    inputs, result = edges.inputs(node), edges.result(node)
    for codes in inputs:
        same_dtype(codes, result.codes, edges.int8_allowed)
    no_sixteen(*inputs)
    return result.clamped(f"QLinear{node.op_type}")


def where(edges: Edges, node: ir.Node) -> str:
    """Both choices and the result of one dtype."""
    inputs, result = [edges.input(node, 1), edges.input(node, 2)], edges.result(node)
    for codes in inputs:
        same_dtype(codes, result.codes, edges.int8_allowed)
    no_sixteen(*inputs)
    return "QLinearWhere"


def argmax(edges: Edges, node: ir.Node) -> str:
    """The largest code stands where the largest value does."""
    codes = edges.input(node, 0)
    no_sixteen(codes)
    return f"ArgMax on {codes.dtype}"


def move(edges: Edges, node: ir.Node) -> str:
    """Codes pass through: one scale and zero point on both sides."""
    x = edges.input(node, 0)
    if is_op(node, "MaxPool") and (edges.opset < 12 or edges.opset > 21):
        raise Left(f"ONNX Runtime fuses MaxPool of opset 12 to 21, not of {edges.opset}")
    result = edges.result(node).codes
    if is_op(node, *MOVES_8):
        no_sixteen(x)
    same_meaning(x, result, edges.int8_allowed)
    return f"{node.op_type} on {x.dtype}"


def split(edges: Edges, node: ir.Node) -> str:
    """Codes pass through to every part."""
    x = edges.input(node, 0)
    for output in node.outputs:
        written = edges.view.written(output)
        if len(written) != 1 or edges.view.edges(output) != 1 or output.is_graph_output():
            raise Left(
                f"its result '{output.name}' is not read by one QuantizeLinear alone",
                "put Q/DQ on each result",
            )
        same_meaning(x, edges.signs.of(written[0]), edges.int8_allowed)
    return f"Split on {x.dtype}"
