"""What stands between the last linear operators of a model and its outputs.

Detectors decode their boxes there: 8 bits for all coordinates of a picture, or for coordinates and scores in
one tensor, are too coarse. ``joining`` finds what a target may leave float for that (``float_tail``),
``decoding`` what one without float gives 16 bits (``wide_tail``).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import onnx_ir as ir

from onnxq.graph.match import constant, consumers, is_op, producer
from onnxq.quant.eligibility import is_quantized_already
from onnxq.quant.operators import bias_add
from onnxq.quant.value_placement import ValuePlacement
from onnxq.targets.target import Target

__all__ = ["decoding", "joining"]

_ARITHMETIC = ("Add", "Sub", "Mul", "Div")
_FUNCTIONS = (
    *("Sigmoid", "HardSigmoid", "Tanh", "Exp", "Log", "Pow", "Sqrt", "Softplus", "Reciprocal", "Abs", "Neg"),
    *("Relu", "Clip", "Softmax", "Max", "Min", "Where"),
)


def joining(nodes: Sequence[ir.Node], floats: Collection[ir.Node], target: Target) -> list[ir.Node]:
    """From a Concat to the outputs layout and arithmetic: in float each part keeps its scale.

    What stands between Q/DQ pairs that the model brings stays there.
    """
    tail = _tail(nodes, floats, (*target.move, "Concat", *_ARITHMETIC, "Sigmoid"))
    tail -= {node for node in tail if _is_quantized_already(node)}
    return list(_behind(nodes, tail, {node for node in tail if is_op(node, "Concat")}))


def decoding(nodes: Sequence[ir.Node], floats: Collection[ir.Node], target: Target) -> set[ir.Value]:
    """The values of box decoding: what it computes, and what it reads of the last linear operators.

    Decoding adds or multiplies by constants of more than one element (anchors, a grid, strides), before or
    behind a Concat, and only elementwise, choosing or moving operators follow up to the outputs. Logits and
    probabilities of a classifier are none, nor are the raw outputs of a detector, joined or not. A value that
    something else reads too is left out.
    """
    found = _tail(nodes, floats, (*target.move, "Concat", *_ARITHMETIC, *_FUNCTIONS))
    tail = {node for node in found if node in floats or not _adds_bias(node)}
    concats = {node for node in tail if is_op(node, "Concat") and node not in floats}
    joined = {*_behind(nodes, tail, concats), *_before(nodes, tail, concats)}
    anchored = {node for node in joined if node not in floats and _is_anchored(node)}
    decodes = {*_behind(nodes, tail, anchored), *_before(nodes, tail, anchored)} - set(floats)
    values = {value for node in decodes for value in (*node.inputs, *node.outputs) if value is not None}
    if not any(maker not in tail for value in values if (maker := producer(value)) is not None):
        return set()  # no linear operator in front: the model is nothing but its tail
    return {value for value in values if all(reader in tail for reader in consumers(value))}


def _tail(nodes: Sequence[ir.Node], floats: Collection[ir.Node], ops: Sequence[str]) -> set[ir.Node]:
    """The nodes behind which only such operators follow, or float ones."""
    tail: set[ir.Node] = set()
    for node in reversed(nodes):
        if (node in floats or is_op(node, *ops)) and all(
            reader in tail for output in node.outputs for reader in consumers(output)
        ):
            tail.add(node)
    return tail


def _behind(
    nodes: Sequence[ir.Node], tail: Collection[ir.Node], starts: Collection[ir.Node]
) -> Iterator[ir.Node]:
    """Some nodes, and those of the tail that depend on them."""
    return _reached(nodes, tail, starts, lambda node: map(producer, node.inputs))


def _before(
    nodes: Sequence[ir.Node], tail: Collection[ir.Node], ends: Collection[ir.Node]
) -> Iterator[ir.Node]:
    """Some nodes, and those of the tail that they depend on."""
    return _reached(
        reversed(nodes), tail, ends, lambda node: (r for out in node.outputs for r in consumers(out))
    )


def _reached(
    nodes: Iterable[ir.Node],
    tail: Collection[ir.Node],
    first: Collection[ir.Node],
    neighbours: Callable[[ir.Node], Iterable[ir.Node | None]],
) -> Iterator[ir.Node]:
    found: set[ir.Node | None] = set()
    for node in nodes:
        if node in first or (node in tail and any(near in found for near in neighbours(node))):
            found.add(node)
            yield node


def _is_quantized_already(node: ir.Node) -> bool:
    return bool(node.inputs) and all(map(is_quantized_already, ValuePlacement.moved(node)))


def _adds_bias(node: ir.Node) -> bool:
    """Whether a MatMul takes the Add in: its constant is no anchor."""
    makers = [maker for value in node.inputs if (maker := producer(value)) is not None]
    return any(bias_add(maker) is node for maker in makers)


def _is_anchored(node: ir.Node) -> bool:
    arrays = [array for value in node.inputs if (array := constant(value)) is not None]
    return is_op(node, *_ARITHMETIC) and any(array.size > 1 for array in arrays)
