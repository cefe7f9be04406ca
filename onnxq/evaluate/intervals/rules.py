"""What each operator can give. An operator without a rule gives anything that its type holds."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.evaluate.intervals.analysis import Analysis
from onnxq.evaluate.intervals.interval import Interval, limits
from onnxq.evaluate.intervals.products import conv_integer, matmul_integer
from onnxq.evaluate.intervals.relations import is_low_byte, related
from onnxq.graph.match import constant, get_input, static_shape

__all__ = ["rule_of"]

Rule: TypeAlias = Callable[[ir.Node, Analysis], Interval | None]

LONGEST = 2**31
"""No axis is longer."""


def rule_of(node: ir.Node) -> Rule:
    """The rule of an operator."""
    found = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return _anything if found is None else lambda n, analysis: related(n, analysis, found(n, analysis))


def _anything(node: ir.Node, analysis: Analysis) -> Interval | None:
    return None


def _arithmetic(op: Callable[[int, int], int]) -> Rule:
    def rule(node: ir.Node, analysis: Analysis) -> Interval | None:
        a, b = (analysis.get(value) for value in node.inputs)
        if a is None or b is None:
            return None
        squared = op(2, 3) == 6 and node.inputs[0] is node.inputs[1]
        found = a.corners(b, op)
        return Interval(np.maximum(found.low, 0), found.high) if squared else found

    return rule


def _divide(node: ir.Node, analysis: Analysis) -> Interval | None:
    """Towards zero, as ONNX divides integers."""
    a, b = (analysis.read(value, node) for value in node.inputs)
    if a is None or b is None:
        return None
    if b.least <= 0 <= b.greatest:
        divisor = node.inputs[1]
        assert divisor is not None, "Div has two inputs"
        analysis.report(node, divisor, b, "its divisor can be zero")
        return None
    return a.corners(b, _truncated)


_truncated = np.frompyfunc(lambda a, b: abs(a) // abs(b) * (1 if (a >= 0) == (b > 0) else -1), 2, 1)


def _modulo(node: ir.Node, analysis: Analysis) -> Interval | None:
    a, b = (analysis.read(value, node) for value in node.inputs)
    if a is None or b is None or b.least <= 0:
        return None
    return Interval.of(0, min(b.greatest - 1, a.greatest) if a.least >= 0 else b.greatest - 1)


def _shift(node: ir.Node, analysis: Analysis) -> Interval | None:
    value, by = node.inputs[0], analysis.get(node.inputs[1])
    if value is None or by is None or value.dtype is None:
        return None
    width = value.dtype.itemsize * 8
    if by.least < 0 or by.greatest >= width:
        return None
    if node.attributes.get_string("direction", "") == "LEFT":
        found = analysis.get(value)
        return None if found is None else found.corners(by, lambda a, b: a * 2**b)
    if by.least == width - 1:
        return Interval.of(0, 1)
    found = analysis.read(value, node)
    return None if found is None else found.corners(by, lambda a, b: a // 2**b)


def _clip(node: ir.Node, analysis: Analysis) -> Interval | None:
    x, whole = analysis.read(node.inputs[0], node), limits(node.outputs[0].dtype)
    ends = [
        Interval.of(default, default) if (value := get_input(node, i)) is None else analysis.get(value)
        for i, default in ((1, whole.least), (2, whole.greatest))
    ]
    low, high = ends
    if low is None or high is None:
        return None
    return Interval.of(low.least, high.greatest) if x is None else x.clamp(low, high)


def _extreme(op: Callable[[Any, Any], Any]) -> Rule:
    def rule(node: ir.Node, analysis: Analysis) -> Interval | None:
        found = [analysis.read(value, node) for value in node.inputs]
        total = found[0]
        for other in found[1:]:
            if total is None or other is None:
                return None
            low, high = op(total.low, other.low), op(total.high, other.high)
            total = Interval(np.asarray(low, object), np.asarray(high, object))
        return total

    return rule


def _cast(node: ir.Node, analysis: Analysis) -> Interval | None:
    """Modulo 2^n to narrower and to unsigned words; to wider ones the number itself."""
    source, target = node.inputs[0], node.outputs[0].dtype
    if source is None or source.dtype is None or target is None or source.dtype.is_floating_point():
        return None
    wider = target.itemsize > source.dtype.itemsize
    found = analysis.read(source, node) if wider else analysis.get(source)
    if found is None or target == ir.DataType.BOOL:
        return None
    whole = limits(target)
    if not target.is_signed() and target.itemsize >= source.dtype.itemsize:
        return found
    width = int(8 * target.itemsize)
    moved = found.plus(-((found.least - whole.least) >> width << width))
    if moved.within(whole.least, whole.greatest):
        return moved
    if is_low_byte(node):
        return whole
    analysis.report(node, source, found, f"Cast to {target.name.lower()} loses bits")
    return None


def _gather(node: ir.Node, analysis: Analysis) -> Interval | None:
    """The entries of a table that the index can reach."""
    table, index = analysis.get(node.inputs[0]), analysis.get(node.inputs[1])
    array = constant(node.inputs[0])
    if table is None or array is None or array.ndim != 1 or index is None:
        return None if table is None else table.hull
    if not index.within(-len(array), len(array) - 1):
        source = node.inputs[1]
        assert source is not None, "Gather has an index"
        analysis.report(node, source, index, f"the index can leave a table of {len(array)}")
        return None
    reached = array if index.least < 0 else array[index.least : index.greatest + 1]
    return Interval.of(int(reached.min()), int(reached.max()))


def _where(node: ir.Node, analysis: Analysis) -> Interval | None:
    a, b = (analysis.get(value) for value in node.inputs[1:3])
    return None if a is None or b is None else a.union(b)


def _reduce_sum(node: ir.Node, analysis: Analysis) -> Interval | None:
    x = analysis.get(node.inputs[0])
    count = _count(node)
    return None if x is None or count is None else Interval.of(x.least * count, x.greatest * count)


def _count(node: ir.Node) -> int | None:
    """How many elements one sum has."""
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    given = constant(get_input(node, 1))
    if shape is None or (get_input(node, 1) is not None and given is None):
        return None
    axes = node.attributes.get_ints("axes", ()) if given is None else [int(axis) for axis in given]
    dims = [shape[axis] for axis in axes] if len(axes) else list(shape)
    known = [dim for dim in dims if isinstance(dim, int)]
    return math.prod(known) if len(known) == len(dims) else None


def _whole(node: ir.Node, analysis: Analysis) -> Interval | None:
    """Elements of the first input, in whatever order."""
    found = analysis.read(node.inputs[0], node)
    return None if found is None else found.hull


def _reshape(node: ir.Node, analysis: Analysis) -> Interval | None:
    """One interval a channel, where the first two axes stay as they are."""
    found, source = analysis.read(node.inputs[0], node), node.inputs[0]
    given = constant(node.inputs[1])
    if found is None or source is None or source.shape is None or given is None:
        return None if found is None else found.hull
    channels, others = found.low.shape[:1], [1] * (len(source.shape) - 2)
    stay = len(given) >= 2 and not given[:2].any() and node.attributes.get_int("allowzero", 0) == 0
    if not stay or found.low.shape != (*channels, *others) or found.high.shape != found.low.shape:
        return found.hull
    shape = (*channels, *[1] * (len(given) - 2))
    return Interval(found.low.reshape(shape), found.high.reshape(shape))


def _any_input(node: ir.Node, analysis: Analysis) -> Interval | None:
    """Elements of one of the inputs."""
    total: Interval | None = None
    for value in node.inputs:
        found = analysis.read(value, node)
        if found is None:
            return None
        total = found.hull if total is None else total.union(found.hull)
    return total


def _pad(node: ir.Node, analysis: Analysis) -> Interval | None:
    fill = get_input(node, 2)
    filled = Interval.of(0, 0) if fill is None else analysis.get(fill)
    found = _whole(node, analysis)
    return None if found is None or filled is None else found.union(filled.hull)


def _same(node: ir.Node, analysis: Analysis) -> Interval | None:
    return analysis.get(node.inputs[0])


def _sign(node: ir.Node, analysis: Analysis) -> Interval | None:
    return Interval.of(-1, 1)


def _negative(node: ir.Node, analysis: Analysis) -> Interval | None:
    x = analysis.get(node.inputs[0])
    return None if x is None else Interval.of(0, 0).corners(x, lambda a, b: a - b)


def _absolute(node: ir.Node, analysis: Analysis) -> Interval | None:
    x = analysis.read(node.inputs[0], node)
    return None if x is None else Interval.of(0, max(-x.least, x.greatest, 0))


def _relu(node: ir.Node, analysis: Analysis) -> Interval | None:
    x = analysis.read(node.inputs[0], node)
    return None if x is None else Interval(np.maximum(x.low, 0), np.maximum(x.high, 0))


def _length(node: ir.Node, analysis: Analysis) -> Interval | None:
    """Axes, and positions along them."""
    shape = static_shape(node.inputs[0])
    if node.op_type == "Shape" and shape:
        return Interval.of(min(shape), max(shape))
    return Interval.of(0, LONGEST)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split"), _whole),
    **dict.fromkeys(("Expand", "Tile", "MaxPool", "ReduceMax", "ReduceMin", "GatherND", "Compress"), _whole),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth", "Resize", "GatherElements", "Trilu"), _whole),
    **dict.fromkeys(("Shape", "Size", "ArgMax", "ArgMin", "NonZero"), _length),
    "Abs": _absolute,
    "Add": _arithmetic(lambda a, b: a + b),
    "BitShift": _shift,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _any_input,
    "ConvInteger": conv_integer,
    "Div": _divide,
    "Gather": _gather,
    "Identity": _same,
    "MatMul": matmul_integer,
    "MatMulInteger": matmul_integer,
    "Max": _extreme(np.maximum),
    "Min": _extreme(np.minimum),
    "Mod": _modulo,
    "Mul": _arithmetic(lambda a, b: a * b),
    "Neg": _negative,
    "Pad": _pad,
    "ReduceSum": _reduce_sum,
    "Relu": _relu,
    "Reshape": _reshape,
    "Sign": _sign,
    "Sub": _arithmetic(lambda a, b: a - b),
    "Where": _where,
}
