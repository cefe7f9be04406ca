"""What ONNX Runtime's CPU provider makes of a Q/DQ graph, predicted node by node.

Its rules, read in onnxruntime/core/optimizer/qdq_transformer (qdq_selectors.cc and
qdq_selector_action_transformer.cc) and held against the optimized models that onnxruntime 1.31.1 writes:

    Conv                 all inputs dequantized, one Q behind it, x and y of one dtype  => QLinearConv
    MatMul               two dequantized inputs; with a Q  => QLinearMatMul, without => MatMulIntegerToFloat
    Gemm, MatMul + Add   all inputs dequantized, Q or none                              => QGemm
    Add, Mul, Concat, AveragePool, GlobalAveragePool, LeakyRelu, Sigmoid, Softmax, Where  => QLinear…
    MaxPool, Reshape, Transpose …   the same scale and zero point on both sides         => on codes
    Relu, Clip in front of a Q      whose codes end there anyway                        => vanish

QOperator nodes are integer kernels as they stand.
"""

from collections.abc import Callable, Iterator, Mapping

import onnx_ir as ir

from onnxq.evaluate.fusion.checks import is_redundant
from onnxq.evaluate.fusion.edges import Edges
from onnxq.evaluate.fusion.linear_rules import conv, matmul, product
from onnxq.evaluate.fusion.value_rules import (
    MOVES,
    MOVES_8,
    UNARY,
    alike,
    argmax,
    move,
    split,
    unary,
    where,
)
from onnxq.evaluate.fusion.verdict import Left, Verdict
from onnxq.graph.match import is_op
from onnxq.quant.operators import LINEAR, gemm_add

__all__ = ["predict"]

Rule = Callable[[Edges, ir.Node], str]
"""The pattern that a node fuses into.

Raises:
    Left: it stays float.
"""

RULES: Mapping[str, Rule] = {
    "Conv": conv,
    "MatMul": matmul,
    "Gemm": product,
    "Add": alike,
    "Mul": alike,
    "Concat": alike,
    "Where": where,
    "Split": split,
    "ArgMax": argmax,
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys((*MOVES, "Unsqueeze", *MOVES_8), move),
}


_KERNELS = frozenset(
    {"ConvInteger", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QAttention", "QGemm"}
)


def predict(model: ir.Model, *, int8_allowed: bool = False) -> dict[ir.Node, Verdict]:
    """A verdict for every node but Q, DQ and constants. ``int8_allowed``: as on ARM, codes may stay int8."""
    edges = Edges(model, int8_allowed=int8_allowed)
    found: dict[ir.Node, Verdict] = {}
    for node in edges.view.nodes:
        if is_op(node, "QuantizeLinear", "DequantizeLinear") or node in found:
            continue
        found[node] = _verdict(edges, node)
        if (add := gemm_add(node)) is not None:
            found[add] = found[node]
    return found | dict(_clamps(edges, found))


def _verdict(edges: Edges, node: ir.Node) -> Verdict:
    try:
        if (add := gemm_add(node)) is not None:
            pattern = product(edges, node, add)
        else:
            pattern = _rule(node)(edges, node)
        return Verdict(True, pattern, kernel=_kernel(edges, node))
    except Left as left:
        return left.verdict


def _kernel(edges: Edges, node: ir.Node) -> str:
    if not is_op(node, *LINEAR):
        return ""
    return f"{edges.input(node, 0).dtype}*{edges.weight(node).dtype}"


def _rule(node: ir.Node) -> Rule:
    if node.op_type.startswith("QLinear") or node.op_type in _KERNELS:
        return lambda _, kernel: kernel.op_type
    return RULES.get(node.op_type, _none) if node.domain in ("", "ai.onnx") else _none


def _none(edges: Edges, node: ir.Node) -> str:
    raise Left(f"ONNX Runtime has no integer {node.op_type}")


def _clamps(edges: Edges, found: Mapping[ir.Node, Verdict]) -> Iterator[tuple[ir.Node, Verdict]]:
    """A Relu or Clip whose Q cuts at the same place vanishes, whatever is in front of it."""
    for node in found:
        if not is_op(node, "Relu", "Clip"):
            continue
        codes = edges.view.written(node.outputs[0])
        if len(codes) == 1 and edges.view.edges(node.outputs[0]) == 1 and is_redundant(node, codes[0]):
            yield node, Verdict(True, "vanishes in the QuantizeLinear behind it")
