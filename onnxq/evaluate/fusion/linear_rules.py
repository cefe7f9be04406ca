"""Which products ONNX Runtime's CPU provider computes on codes."""

import onnx_ir as ir

from onnxq.evaluate.fusion.checks import bias_scale_fits, left_signed, no_sixteen, same_dtype
from onnxq.evaluate.fusion.edges import Edges
from onnxq.evaluate.fusion.verdict import Left
from onnxq.evaluate.fusion.view import Codes
from onnxq.graph.match import constant, get_input, is_op, rank

__all__ = ["conv", "matmul", "product"]


def conv(edges: Edges, node: ir.Node) -> str:
    """QLinearConv."""
    x, w = edges.input(node, 0), edges.weight(node)
    result = edges.result(node)
    same_dtype(x, result.codes, edges.int8_allowed)
    no_sixteen(x, w)
    if x.dtype == "int8" and (not edges.int8_allowed or w.dtype != "int8"):
        raise left_signed(x)
    _bias(edges, node, x, w)
    return result.clamped("QLinearConv")


def _bias(edges: Edges, node: ir.Node, x: Codes, w: Codes) -> None:
    bias = get_input(node, 2)
    if bias is None:
        return
    codes = edges.view.read(bias)
    if codes is None:
        if constant(bias) is None or not x.is_scalar:
            raise Left(f"its bias '{bias.name}' is float", "let fold-fake-quant make it int32")
        return  # quantized by the runtime at s_x·s_w
    if codes.dtype != "int32":
        raise Left(f"its bias is {codes.dtype}", "biases are int32 at scale s_x·s_w")
    if is_op(node, "Conv") and not bias_scale_fits(codes, x, w):
        raise Left(
            "its bias is not at scale s_x·s_w",
            "give it that scale, or run fold-fake-quant on a float bias",
        )


def matmul(edges: Edges, node: ir.Node) -> str:
    """QLinearMatMul, or MatMulIntegerToFloat where no QuantizeLinear follows."""
    a, b = edges.input(node, 0), edges.input(node, 1)
    if a.dtype == "int8" and (not edges.int8_allowed or b.dtype != "int8"):
        raise left_signed(a)
    no_sixteen(a, b)
    result = edges.result(node, may_be_float=True)
    if result.codes is None:
        return "MatMulIntegerToFloat"
    same_dtype(a, result.codes, edges.int8_allowed)
    return result.clamped("QLinearMatMul")


def product(edges: Edges, node: ir.Node, add: ir.Node | None = None) -> str:
    """QGemm; of a MatMul, with the Add that becomes its bias.

    A MatMul of more than two axes stands between two Reshapes then, with pairs of their own round it.
    """
    a, b = edges.input(node, 0), edges.weight(node)
    last = node if add is None else add
    between = add is not None and rank(node.inputs[0]) != 2
    if between:
        a = edges.signs.alone(a)
    if a.dtype == "int8" and b.dtype != "int8":
        raise left_signed(a)
    no_sixteen(a, b)
    result = edges.result(last, may_be_float=True)
    if result.codes is not None:
        same_dtype(a, edges.signs.alone(result.codes) if between else result.codes, edges.int8_allowed)
    bias = get_input(node, 2) if add is None else _other(add, node.outputs[0])
    if bias is None:
        return result.clamped("QGemm")
    codes = edges.view.read(bias)
    if codes is None and (constant(bias) is None or result.codes is None):
        raise Left(f"its bias '{bias.name}' is float", "let fold-fake-quant make it int32")
    if codes is not None and codes.dtype != "int32":
        raise Left(f"its bias is {codes.dtype}", "biases are int32 at scale s_x·s_w")
    if add is None and node.attributes.get_float("beta", 1.0) != 1.0:
        raise Left("its beta is not 1", "fold beta into the bias")
    return result.clamped("QGemm")


def _other(add: ir.Node, value: ir.Value) -> ir.Value | None:
    return add.inputs[1] if add.inputs[0] is value else add.inputs[0]
