"""Integer operators that would cost more conversions than they save.

A cheap operator (Add, Concat, Sigmoid …) between float nodes needs a QuantizeLinear for each float operand
and a DequantizeLinear for its float readers; in float it needs them for its integer neighbours instead:

    on integers  = float operands + (1 if a float node reads it)          parts of one value count once
    in float     = integer operands + (1 if an integer node reads it)

Sums that their operator can hand over as float (``float_output``) cost nothing in float. Of equal costs
integers win, except where float is finer and no slower: for functions onto a fixed grid, such as Sigmoid,
that only float nodes or outputs of the model read, and for a Mul or Add of a constant, which joins the float
operator beside it, such as a LayerNormalization behind it or a Gelu in front of it.

That is asked of the target's ``neighbours`` only. But arithmetic that reads from float nodes alone, and is
read by float nodes alone, stays float for every target: 8 bits in the middle of a float function (the sum of
squares in front of a square root) cost accuracy and two conversions, and save nothing. A Cast of integers is
no float node where strict integers are made, so that 1 − mask becomes integers, too.

Q/DQ that a trainer put in is no float node: what stands between two pairs reads codes and makes codes.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from onnxq.graph.match import constant, consumers, is_op, producer
from onnxq.quant.eligibility import Kind, kind
from onnxq.quant.operators import bias_add, operands
from onnxq.quant.qdq import through_fake_quant
from onnxq.targets.target import Target

__all__ = ["costly_islands"]

_ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def costly_islands(
    nodes: Sequence[ir.Node], floats: Mapping[ir.Node, str], target: Target
) -> Iterator[ir.Node]:
    """The nodes that should stay float although they need not, each after those that made it so."""
    left = {node for node in floats if not is_op(node, "QuantizeLinear", "DequantizeLinear")}
    biases = {bias_add(node) for node in nodes if is_op(node, "MatMul") and node not in left}
    candidates = {
        node: _Surroundings(node, left, target)
        for node in nodes
        if node not in left and node not in biases and is_op(node, *target.neighbours, *_ARITHMETIC)
    }
    beside: dict[ir.Node, list[ir.Node]] = defaultdict(list)
    for node, around in candidates.items():
        for other in (*around.makers, *around.readers):
            if other in candidates:
                beside[other].append(node)
    waiting = deque(candidates)
    while waiting:
        node = waiting.popleft()
        if node not in left and candidates[node].is_costly(left):
            left.add(node)
            waiting.extend(beside[node])
            yield node


class _Surroundings:
    """What makes a node's operands and reads its results, behind operators that only move values.

    None stands for inputs and outputs of the model, which are float.
    """

    def __init__(self, node: ir.Node, floats: set[ir.Node], target: Target) -> None:
        self._target, self._floats = target, frozenset(floats)
        operands_ = (node.inputs[i] for i in operands(node).data)
        data = [v for v in operands_ if v is not None and constant(through_fake_quant(v)) is None]
        self.makers = [producer(source) for source in dict.fromkeys(self._source(value) for value in data)]
        self.readers: list[ir.Node | None] = [r for output in node.outputs for r in self._readers(output)]
        self._coarse = is_op(node, *target.fixed_range)
        self._is_neighbour = is_op(node, *target.neighbours)
        self._scales = is_op(node, "Add", "Mul") and len(data) == 1

    def is_costly(self, floats: set[ir.Node]) -> bool:
        """Whether integers would need more conversions, given the nodes that stay float so far."""
        if not self._is_neighbour:
            around = (*self.makers, *self.readers)
            return bool(self.makers) and all(node in floats and not self._has_codes(node) for node in around)
        readers = {reader is None or reader in floats for reader in self.readers}
        integer_made = [maker for maker in self.makers if maker is not None and maker not in floats]
        on_integers = len(self.makers) - len(integer_made) + (True in readers)
        in_float = sum(not self._gives_float(maker) for maker in integer_made) + (False in readers)
        finer = self._scales or (self._coarse and False not in readers)
        return on_integers > in_float or (on_integers == in_float and finer)

    def _has_codes(self, node: ir.Node | None) -> bool:
        """Whether a node takes integers, and its floats will be codes of the same numbers."""
        source = node.inputs[0] if node is not None and is_op(node, "Cast") else None
        whole = source is not None and source.dtype is not None and not source.dtype.is_floating_point()
        return whole and self._target.form == "integer"

    def _gives_float(self, node: ir.Node) -> bool:
        """Whether a node hands over its sums as float: it, or the MatMul whose bias it adds, may do so."""
        makers = [producer(value) for value in node.inputs] if is_op(node, "Add") else []
        matmul = next((maker for maker in makers if maker is not None and bias_add(maker) is node), None)
        return is_op(node if matmul is None else matmul, *self._target.float_output)

    def _moves(self, node: ir.Node) -> bool:
        moves = kind(node, self._target) is Kind.MOVE and not is_op(node, "Concat")
        return moves and node not in self._floats

    def _source(self, value: ir.Value) -> ir.Value:
        """The value that operators in front of this one only move: one conversion serves all its parts."""
        maker = producer(value)
        while maker is not None and self._moves(maker) and maker.inputs[0] is not None:
            value = maker.inputs[0]
            maker = producer(value)
        return value

    def _readers(self, value: ir.Value) -> Iterator[ir.Node | None]:
        stack, seen = [value], {value}
        while stack:
            current = stack.pop()
            if current.is_graph_output():
                yield None
            for reader in consumers(current):
                if not self._moves(reader):
                    yield reader
                    continue
                new = [output for output in reader.outputs if output not in seen]
                seen.update(new)
                stack += new
