"""Fuse the formula of a softmax, and of its logarithm."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.length_rules import reduced_axes
from onnxq.graph.match import get_input, is_float, is_op, producer, rank, scalar
from onnxq.passes.fusion._operator_fusion import Fusion, OperatorFusion, saves_work
from onnxq.pipeline.base import Contract

__all__ = ["FuseSoftmax"]


@dataclass(frozen=True)
class FuseSoftmax(OperatorFusion):
    """Replace the formula of a softmax by Softmax, that of its logarithm by LogSoftmax (opset 13).

           d = x − ReduceMax(x)      e = Exp(d)      t = ReduceSum(e)      over one axis
           y = e / t            => y = Softmax(x) {axis}
           y = d − Log(t)       => y = LogSoftmax(x) {axis}

    with 1/t as Reciprocal, the maximum cut by Max(·, −inf), or no maximum at all: the values are the same,
    save where exponentials without it overflow.

    Left alone where e or t (for the logarithm t) is read elsewhere too, and over several axes.
    """

    name = "fuse-softmax"
    contract = Contract.EXACT
    root = ("Div", "Mul", "Sub")
    since = 13

    def match(self, node: ir.Node, /) -> Fusion | str | None:
        found = _logarithm(node) if is_op(node, "Sub") else _quotient(node)
        if found is None:
            return None
        op_type, distance, nodes = found
        total = next(n for n in nodes if is_op(n, "ReduceSum"))
        if (axis := _axis(total)) is None:
            return f"is a {op_type}, but not over one known axis that stays"
        x, before = _shifted(distance, total)
        if not is_float(x):
            return f"is a {op_type}, but '{x.name}' is not known to be float32"
        everything = list(dict.fromkeys([*before, *nodes, node]))
        if not saves_work(everything, total):
            return f"is a {op_type}, but the sum of its exponentials is also read outside of it"
        return Fusion(op_type, [x], {"axis": axis}, everything)


Parts = tuple[str, ir.Value, list[ir.Node]]


def _quotient(node: ir.Node) -> Parts | None:
    """e / ReduceSum(e) or e · Reciprocal(ReduceSum(e))."""
    for side in (0, 1) if is_op(node, "Mul") else (0,):
        inverse = producer(node, 1 - side, "Reciprocal") if is_op(node, "Mul") else node
        total = None if inverse is None else producer(inverse, 1 if inverse is node else 0, "ReduceSum")
        exp = producer(node, side, "Exp")
        if inverse is None or total is None or exp is None or producer(total) is not exp:
            continue
        if (distance := exp.inputs[0]) is not None:
            return "Softmax", distance, [exp, total, *([inverse] if inverse is not node else [])]
    return None


def _logarithm(node: ir.Node) -> Parts | None:
    """d − Log(ReduceSum(Exp(d)))."""
    log, distance = producer(node, 1, "Log"), get_input(node, 0)
    total = None if log is None else producer(log, 0, "ReduceSum")
    exp = None if total is None else producer(total, 0, "Exp")
    if log is None or total is None or exp is None or distance is None or exp.inputs[0] is not distance:
        return None
    return "LogSoftmax", distance, [exp, total, log]


def _axis(reduction: ir.Node) -> int | None:
    """The one axis of a reduction that keeps it, counted from the front where the rank is known."""
    axes, dims = reduced_axes(reduction), rank(get_input(reduction, 0))
    if len(axes) != 1 or not reduction.attributes.get_int("keepdims", 1):
        return None
    axis = axes[0]
    return axis if dims is None else axis % dims


def _shifted(distance: ir.Value, total: ir.Node) -> tuple[ir.Value, list[ir.Node]]:
    """x and the nodes that make ``x − max(x)`` of it; ``distance`` itself where it is no such difference."""
    sub = producer(distance, 0, "Sub")
    x = None if sub is None else sub.inputs[0]
    top = None if sub is None else sub.inputs[1]
    nodes: list[ir.Node] = []
    while (node := producer(top)) is not None and is_op(node, "Max", "Identity"):
        nodes.insert(0, node)
        varying = [v for v in node.inputs if scalar(v) != float("-inf")]
        top = varying[0] if len(varying) == 1 else None
    maximum = producer(top, 0, "ReduceMax")
    if sub is None or x is None or maximum is None or maximum.inputs[0] is not x:
        return distance, []
    same = _axis(maximum) == _axis(total)
    return (x, [maximum, *nodes, sub]) if same else (distance, [])
