"""What an operator's result is as long as, in the lengths of its operands: the rules of lengths.py."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from typing import Protocol, TypeAlias

import onnx_ir as ir

from onnxq.graph.length_algebra import ONE, Length, Partly, Shape, broadcast, product
from onnxq.graph.match import constant, constants, get_input

__all__ = ["BROADCASTING", "NUMBER_RULES", "REDUCTIONS", "SHAPE_RULES", "reduced_axes"]

BROADCASTING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Mod", "PRelu", "Where", "And", "Or"}
    | {"Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
)
"""Operators whose result is as large as their operands together."""

REDUCTIONS = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"}
    | {"ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"}
)

_KEEPING = frozenset(
    {"Abs", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Cos", "DequantizeLinear", "Dropout"}
    | {"Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization"}
    | {"LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "Mish", "Neg", "Not"}
    | {"QuantizeLinear", "RMSNormalization", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin"}
    | {"Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu"}
)
_WINDOWS = frozenset(
    {"AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool"}
)

_REST, _KEEP = Length(Fraction(-1)), Length(Fraction(0))
"""What -1 and 0 mean among the lengths that Reshape asks for."""


class Known(Protocol):
    """What is known of values further up in the graph."""

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of a value."""

    def numbers(self, value: ir.Value | None) -> Shape | None:
        """The elements of a short list of integers."""


# --- shapes -------------------------------------------------------------------------------------


def _same(node: ir.Node, known: Known) -> Partly | None:
    return known.of(get_input(node, 0))


def _broadcasting(node: ir.Node, known: Known) -> Partly | None:
    shapes = [known.of(value) for value in node.inputs]
    given = [shape for shape in shapes if shape is not None]
    return broadcast(given) if len(given) == len(shapes) else None


def _matmul(node: ir.Node, known: Known) -> Partly | None:
    a, b = (known.of(value) for value in node.inputs)
    if a is None or b is None or min(len(a), len(b)) < 2:
        return None
    return [*broadcast([a[:-2], b[:-2]]), a[-2], b[-1]]


def _gemm(node: ir.Node, known: Known) -> Partly | None:
    a, b = (known.of(value) for value in node.inputs[:2])
    if a is None or b is None:
        return None
    return [a[node.attributes.get_int("transA", 0)], b[1 - node.attributes.get_int("transB", 0)]]


def _reshape(node: ir.Node, known: Known) -> Partly | None:
    x, wanted = known.of(get_input(node, 0)), known.numbers(get_input(node, 1))
    if x is None or wanted is None:
        return None
    keeps = not node.attributes.get_int("allowzero", 0)
    if keeps:
        wanted = tuple(x[i] if length == _KEEP else length for i, length in enumerate(wanted))
    if _REST not in wanted:
        return wanted
    rest = product(x).over(product(length for length in wanted if length != _REST))
    return [rest if length == _REST else length for length in wanted]


def _expand(node: ir.Node, known: Known) -> Partly | None:
    x, wanted = known.of(get_input(node, 0)), known.numbers(get_input(node, 1))
    return None if x is None or wanted is None else broadcast([x, wanted])


def _transpose(node: ir.Node, known: Known) -> Partly | None:
    if (x := known.of(get_input(node, 0))) is None:
        return None
    return [x[axis] for axis in node.attributes.get_ints("perm", range(len(x))[::-1])]


def reduced_axes(node: ir.Node) -> Sequence[int]:
    """The axes of Unsqueeze, Squeeze or a reduction; empty where they are not given, or computed."""
    if (given := get_input(node, 1)) is None:
        return node.attributes.get_ints("axes", ())
    array = constant(given)
    return () if array is None else [int(axis) for axis in array.reshape(-1)]


def _unsqueeze(node: ir.Node, known: Known) -> Partly | None:
    x, axes = known.of(get_input(node, 0)), reduced_axes(node)
    if x is None or not axes:
        return None
    rank, rest = len(x) + len(axes), iter(x)
    new = {axis % rank for axis in axes}
    return [ONE if i in new else next(rest) for i in range(rank)]


def _squeeze(node: ir.Node, known: Known) -> Partly | None:
    x, axes = known.of(get_input(node, 0)), reduced_axes(node)
    if not x or not axes:
        return None
    gone = {axis % len(x) for axis in axes}
    return [length for i, length in enumerate(x) if i not in gone]


def _reduction(node: ir.Node, known: Known) -> Partly | None:
    x, axes = known.of(get_input(node, 0)), reduced_axes(node)
    if not x or not axes:
        return None
    gone, keep = {axis % len(x) for axis in axes}, node.attributes.get_int("keepdims", 1)
    return [ONE if i in gone else length for i, length in enumerate(x) if keep or i not in gone]


def _gather(node: ir.Node, known: Known) -> Partly | None:
    x, indices = (known.of(value) for value in node.inputs)
    if not x or indices is None:
        return None
    axis = node.attributes.get_int("axis", 0) % len(x)
    return [*x[:axis], *indices, *x[axis + 1 :]]


def _beside_axis(node: ir.Node, known: Known) -> Partly | None:
    """Concat and Split leave all axes but one as they are."""
    if not (x := known.of(get_input(node, 0))):
        return None
    axis = node.attributes.get_int("axis", 0) % len(x)
    return [None if i == axis else length for i, length in enumerate(x)]


def _windows(node: ir.Node, known: Known) -> Partly | None:
    """Convolutions and pools keep the batch."""
    x = known.of(get_input(node, 0))
    return [x[0], *[None] * (len(x) - 1)] if x else None


Rule: TypeAlias = Callable[[ir.Node, Known], Partly | None]

SHAPE_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_KEEPING, _same),
    **dict.fromkeys(BROADCASTING, _broadcasting),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(("Concat", "Split"), _beside_axis),
    **dict.fromkeys(_WINDOWS, _windows),
    "Expand": _expand,
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

# --- lists of lengths ---------------------------------------------------------------------------


def _passed(node: ir.Node, known: Known) -> Shape | None:
    return known.numbers(get_input(node, 0))


def _shape(node: ir.Node, known: Known) -> Shape | None:
    x, end = known.of(get_input(node, 0)), node.attributes.get("end")
    if x is None:
        return None
    return x[node.attributes.get_int("start", 0) : None if end is None else end.as_int()]


def _picked(node: ir.Node, known: Known) -> Shape | None:
    numbers, index = known.numbers(get_input(node, 0)), constant(get_input(node, 1))
    if numbers is None or index is None or node.attributes.get_int("axis", 0) != 0:
        return None
    return tuple(numbers[int(i)] for i in index.reshape(-1))


def _cut(node: ir.Node, known: Known) -> Shape | None:
    numbers, given = known.numbers(get_input(node, 0)), constants(node.inputs[1:])
    if numbers is None or given is None or any(array.size != 1 for array in given):
        return None
    start, end, *rest = (int(array.reshape(-1)[0]) for array in given)
    return numbers[start : end : rest[1] if len(rest) > 1 else 1]


def _joined(node: ir.Node, known: Known) -> Shape | None:
    parts = [known.numbers(value) for value in node.inputs]
    given = [part for part in parts if part is not None]
    return tuple(chain(*given)) if len(given) == len(parts) else None


NUMBER_RULES: Mapping[str, Callable[[ir.Node, Known], Shape | None]] = {
    **dict.fromkeys(("Cast", "Identity", "Squeeze", "Unsqueeze"), _passed),
    "Concat": _joined,
    "Gather": _picked,
    "Shape": _shape,
    "Slice": _cut,
}
