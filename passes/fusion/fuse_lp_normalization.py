"""Fuse the normalization to length 1."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.length_rules import reduced_axes
from onnxq.graph.match import get_input, is_float, is_op, producer, scalar
from onnxq.graph.polynomial import Polynomial, read
from onnxq.passes.fusion._normalization import root_power
from onnxq.passes.fusion._operator_fusion import Fusion, OperatorFusion, saves_work
from onnxq.pipeline.base import Contract

__all__ = ["FuseLpNormalization"]

_SMALL = 1e-6
"""Bounds of the length up to here only keep the division from dividing by zero."""


@dataclass(frozen=True)
class FuseLpNormalization(OperatorFusion):
    """Replace the division by the Euclidean length by the operator LpNormalization.

           y = x / ReduceL2(x)   => y = LpNormalization(x) {axis, p = 2}      over one axis

    with the length as Sqrt(ReduceSum(x²)) or Sqrt(ReduceSumSquare(x)), or as its reciprocal, kept above zero
    by Clip, Max or an added number of at most 1e-6. Values stay the same for rows longer than that. A row of
    zeros gives zeros, where the formula without such a bound gives NaN.

    Left alone over several axes, and where the length is read elsewhere too.
    """

    name = "fuse-lp-normalization"
    contract = Contract.EXACT
    root = ("Div", "Mul")
    since = 1

    def match(self, node: ir.Node, /) -> Fusion | str | None:
        for side in (0, 1) if is_op(node, "Mul") else (0,):
            x, divisor = get_input(node, side), get_input(node, 1 - side)
            length = None if divisor is None else _length(divisor, -1 if is_op(node, "Mul") else 1)
            if x is None or length is None or length.x is not x:
                continue
            axes = reduced_axes(length.reduction)
            if len(axes) != 1 or not length.reduction.attributes.get_int("keepdims", 1) or not is_float(x):
                return "divides by a length, but not of float32 values over one axis that stays"
            nodes = [*length.nodes, node]
            if not saves_work(nodes, length.nodes[-1]):
                return "divides by a length, but that is also read outside of it"
            return Fusion("LpNormalization", [x], {"axis": axes[0], "p": 2}, nodes)
        return None


@dataclass(frozen=True)
class _Length:
    """The nodes that make the length of x, makers first, and the reduction among them."""

    x: ir.Value
    reduction: ir.Node
    nodes: list[ir.Node]


def _length(value: ir.Value, power: int) -> _Length | None:
    """Read a value as the length of some x (power 1), or as its inverse (power −1)."""
    nodes: list[ir.Node] = []
    squared = False
    while (node := producer(value)) is not None:
        nodes.insert(0, node)
        if is_op(node, "ReduceSumSquare" if squared else "ReduceL2"):
            x = node.inputs[0] if power == 1 else None
            return None if x is None else _Length(x, node, nodes)
        if is_op(node, "ReduceSum"):
            return _of_squares(node, nodes) if squared and power == 1 else None
        source = _inner(node, _SMALL**2 if squared else _SMALL)
        if is_op(node, "Reciprocal"):
            source, power = node.inputs[0], -power
        elif is_op(node, "Sqrt", "Pow") and not squared and (turn := root_power(node)) is not None:
            source, power, squared = node.inputs[0], -turn * power, True
        if source is None:
            return None
        value = source
    return None


def _inner(node: ir.Node, small: float) -> ir.Value | None:
    """What a Clip, Max or Add keeps above zero."""
    if is_op(node, "Clip"):
        low, high = scalar(get_input(node, 1)), get_input(node, 2)
        return node.inputs[0] if low is not None and 0 <= low <= small and high is None else None
    if not is_op(node, "Max", "Add") or len(node.inputs) != 2:
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        bound = scalar(other)
        if bound is not None and 0 <= bound <= small:
            return value
    return None


def _of_squares(total: ir.Node, nodes: list[ir.Node]) -> _Length | None:
    value = total.inputs[0]
    square = producer(value, 0, "Mul", "Pow")
    x = None if square is None else square.inputs[0]
    found = None if x is None else read(value, x)
    if x is None or found is None or not found.polynomial.is_close(Polynomial.of(x) ** 2):
        return None
    return _Length(x, total, [*found.nodes, *nodes])
