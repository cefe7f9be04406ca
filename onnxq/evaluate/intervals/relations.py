"""What intervals alone cannot see.

Where an operand appears twice, or knows another one:

    max(x) − x ≥ 0,   x − Relu(x) ≤ 0
    0 ≤ ⌊low(x)/n⌋·n ≤ x − x mod n ≤ x, for x ≥ 0, n ≥ 1
    Σ T[max(x) − x]/c ≥ T[0]/c                          one element is the maximum
    (r + v/r)/2 ≥ ⌊√v⌋, for r, v ≥ 1                    a step of Newton's method
    |d·(2^B / ⌊√(Σd²·c/n + 1)⌋)| ≤ 2·2^B·√(n/c)         no element is longer than all together
    Where(x > c, c, x) ≤ c,  Where(x < c, c, x) ≥ c
    x mod 256 is meant where ⌊(x + c·256)/256⌋ is taken too: the two bytes of a code
"""

import math

import numpy as np
import onnx_ir as ir

from onnxq.evaluate.intervals.analysis import Analysis
from onnxq.evaluate.intervals.interval import Interval
from onnxq.graph.match import constant, consumers, get_input, is_op, producer, scalar

__all__ = ["is_low_byte", "related"]


def related(node: ir.Node, analysis: Analysis, found: Interval | None) -> Interval | None:
    """The interval of a node's result, as narrow as its operands' relation makes it."""
    if node.op_type == "Sub" and found is not None:
        return _difference(node, analysis, found)
    if node.op_type == "ReduceSum" and found is not None:
        return _at_least_one(node, analysis, found)
    if node.op_type == "Div" and found is not None:
        return _newton(node, analysis, found)
    if node.op_type == "Mul":
        return _normalized(node, analysis, found)
    if node.op_type == "Where":
        return _limited(node, analysis, found)
    return found


def _difference(node: ir.Node, analysis: Analysis, found: Interval) -> Interval:
    if _is_distance(node):
        return Interval(np.maximum(found.low, 0), found.high)
    x, rest = analysis.get(node.inputs[0]), producer(node, 1, "Mod")
    if rest is not None and rest.inputs[0] is node.inputs[0] and x is not None and x.least >= 0:
        by = analysis.get(rest.inputs[1])
        if by is None or by.least < 1:
            return found
        if by.least < by.greatest:
            return Interval.of(0, x.greatest)
        return Interval(x.low - x.low % by.least, x.high)
    positive = producer(node, 1, "Relu")
    if positive is None or positive.inputs[0] is not node.inputs[0] or x is None:
        return found
    return Interval(np.minimum(x.low, 0), np.minimum(x.high, 0))


def _is_distance(node: ir.Node) -> bool:
    greatest = producer(node, 0, "ReduceMax")
    return greatest is not None and greatest.inputs[0] is node.inputs[1]


def _at_least_one(node: ir.Node, analysis: Analysis, found: Interval) -> Interval:
    parts = producer(node, 0, "Div")
    divisor = 1 if parts is None else scalar(parts.inputs[1])
    gather = producer(parts or node, 0, "Gather")
    index = None if gather is None else producer(gather, 1)
    while is_op(index, "Clip"):
        index = producer(index)
    table = None if gather is None else constant(gather.inputs[0])
    if index is None or table is None or not (is_op(index, "Sub") and _is_distance(index)):
        return found
    if divisor is None or divisor < 1:
        return found
    least = int(table.reshape(-1)[0]) // int(divisor)
    return Interval.of(max(found.least, least) if table.min() >= 0 else found.least, found.greatest)


def _newton(node: ir.Node, analysis: Analysis, found: Interval) -> Interval:
    """``(r + v/r)/2`` is at least ⌊√v⌋, and at least 1, by the inequality of means."""
    total = producer(node, 0, "Add")
    if total is None or scalar(node.inputs[1]) != 2:
        return found
    for index in (0, 1):
        quotient = producer(total, index, "Div")
        if quotient is None or quotient.inputs[1] is not total.inputs[1 - index]:
            continue
        root, square = analysis.get(quotient.inputs[1]), analysis.get(quotient.inputs[0])
        if root is not None and square is not None and root.least >= 1 and square.least >= 1:
            return Interval.of(max(1, math.isqrt(square.least)), found.greatest)
    return found


def _normalized(node: ir.Node, analysis: Analysis, found: Interval | None) -> Interval | None:
    """``d`` times the reciprocal of its own length."""
    for index in (0, 1):
        distance, reciprocal = node.inputs[index], producer(node, 1 - index, "Div")
        numerator = None if reciprocal is None else scalar(reciprocal.inputs[0])
        if distance is None or reciprocal is None or numerator is None:
            continue
        ratio = _length_ratio(_radicand(reciprocal.inputs[1]), distance)
        if ratio is not None:
            bound = math.ceil(2 * int(numerator) * ratio)
            analysis.loose.discard(node.outputs[0])
            return Interval.of(-bound, bound)
    return found


def _radicand(root: ir.Value | None) -> ir.Value | None:
    """The v of the Newton steps that end in ``root``."""
    halved = producer(root)
    total = producer(halved, 0, "Add") if is_op(halved, "Div") else None
    for index in (0, 1):
        quotient = producer(total, index, "Div") if total is not None else None
        if total is not None and quotient is not None and quotient.inputs[1] is total.inputs[1 - index]:
            return quotient.inputs[0]
    return None


def _length_ratio(value: ir.Value | None, distance: ir.Value) -> float | None:
    """√(n/c) where ``value`` is ``Σ distance²·c/n`` plus something positive."""
    node, factor = producer(value), 1.0
    while node is not None and is_op(node, "Add", "Mul", "Div"):
        number = next((n for v in node.inputs[::-1] if (n := scalar(v)) is not None), None)
        if number is None or number <= 0 or (is_op(node, "Div") and scalar(node.inputs[1]) is None):
            return None
        factor *= 1.0 if is_op(node, "Add") else float(number) if is_op(node, "Mul") else 1 / float(number)
        node = producer(node) if producer(node) is not None else producer(node, 1)
    square = producer(node, 0, "Mul") if is_op(node, "ReduceSum") else None
    if square is None or any(v is not distance for v in square.inputs):
        return None
    return math.sqrt(1 / factor)


def _limited(node: ir.Node, analysis: Analysis, found: Interval | None) -> Interval | None:
    test = producer(node)
    if test is None or not is_op(test, "Greater", "Less"):
        return found
    x, end = test.inputs[0], get_input(test, 1)
    limit = analysis.get(end)
    if node.inputs[1] is not end or node.inputs[2] is not x or limit is None or x is None:
        return found
    given = analysis.get(x)
    whole = _word(x)
    low, high = (given.least, given.greatest) if given is not None else whole
    if is_op(test, "Greater"):
        return Interval.of(min(low, limit.least), min(high, limit.greatest))
    return Interval.of(max(low, limit.least), max(high, limit.greatest))


def is_low_byte(cast: ir.Node) -> bool:
    """Whether a Cast of 16-bit codes to uint8 keeps their low byte, and the high one is kept elsewhere."""
    codes = cast.inputs[0]
    if codes is None or codes.dtype is None or codes.dtype.itemsize != 2:
        return False
    return any(_takes_high_byte(node) for node in consumers(codes) if node is not cast)


def _takes_high_byte(node: ir.Node) -> bool:
    """Whether a node leads to a shift by 8 through casts and sums with multiples of 256."""
    while is_op(node, "Cast", "Add"):
        moved = scalar(node.inputs[1]) if is_op(node, "Add") else 0
        readers = consumers(node.outputs[0])
        if moved is None or moved % 256 or len(readers) != 1:
            return False
        node = readers[0]
    return is_op(node, "BitShift") and scalar(node.inputs[1]) == 8


def _word(value: ir.Value) -> tuple[int, int]:
    assert value.dtype is not None, "the type is known"
    info = np.iinfo(value.dtype.numpy())
    return int(info.min), int(info.max)
