"""Integer operators that would cost more conversions than they save.

A cheap operator (Add, Concat, Sigmoid …) between float nodes needs a QuantizeLinear for each float operand
and a DequantizeLinear for its float readers; in float it needs them for its integer neighbours instead:

    on integers  = float operands + (1 if a float node reads it)
    in float     = integer operands + (1 if an integer node reads it)

Sums that their operator can hand over as float (``float_output``) cost nothing in float. Of equal costs
integers win, except for functions onto a fixed grid, such as Softmax, that only float nodes or outputs of the
model read: float is finer there.
"""

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from onnxq.graph.match import constant, consumers, is_op, producer
from onnxq.quant.eligibility import Kind, kind
from onnxq.quant.operators import bias_add, operands
from onnxq.targets.target import Target

__all__ = ["costly_islands"]

_MOVES_FOLLOWED = 1000


def costly_islands(
    nodes: Sequence[ir.Node], floats: Mapping[ir.Node, str], target: Target
) -> Iterator[ir.Node]:
    """The neighbours that should stay float although they need not, each after those that made it so."""
    left = set(floats)
    candidates = [node for node in nodes if node not in left and is_op(node, *target.neighbours)]
    found = True
    while found:
        found = False
        for node in candidates:
            if node not in left and _Surroundings(node, left, target).is_costly():
                left.add(node)
                found = True
                yield node


class _Surroundings:
    """What makes a node's operands and reads its results, behind operators that only move values."""

    def __init__(self, node: ir.Node, floats: set[ir.Node], target: Target) -> None:
        self.node, self.floats, self.target = node, floats, target

    def is_costly(self) -> bool:
        makers = [self._maker(v) for v in self._data() if constant(v) is None]
        readers = {self._is_float(r) for output in self.node.outputs for r in self._readers(output)}
        readers |= {True for output in self.node.outputs if output.is_graph_output()}
        on_integers = sum(self._is_float(maker) for maker in makers) + (True in readers)
        in_float = sum(not self._is_float(m) and not self._gives_float(m) for m in makers) + (
            False in readers
        )
        coarse = is_op(self.node, *self.target.fixed_range) and False not in readers
        return on_integers > in_float or (on_integers == in_float and coarse)

    def _data(self) -> list[ir.Value]:
        return [v for i in operands(self.node).data if (v := self.node.inputs[i]) is not None]

    def _is_float(self, node: ir.Node | None) -> bool:
        """Inputs and outputs of the model are float."""
        return node is None or node in self.floats

    def _gives_float(self, node: ir.Node | None) -> bool:
        before = producer(node) if node is not None and is_op(node, "Relu", "Clip", "Add") else None
        if before is not None and is_op(node, "Add") and bias_add(before) is not node:
            before = None
        chain = (node, before)
        return any(n is not None and is_op(n, *self.target.float_output) for n in chain)

    def _moves(self, node: ir.Node) -> bool:
        return kind(node, self.target) is Kind.MOVE and not is_op(node, "Concat")

    def _maker(self, value: ir.Value) -> ir.Node | None:
        maker = producer(value)
        for _ in range(_MOVES_FOLLOWED):
            if maker is None or maker in self.floats or not self._moves(maker):
                break
            maker = producer(maker)
        return maker

    def _readers(self, value: ir.Value) -> Iterator[ir.Node | None]:
        stack, seen = [value], {value}
        while stack:
            current = stack.pop()
            if current.is_graph_output() and current is not value:
                yield None
            for reader in consumers(current):
                if reader in self.floats or not self._moves(reader):
                    yield reader
                    continue
                new = [output for output in reader.outputs if output not in seen]
                seen.update(new)
                stack += new
