"""Which integer tensor stands for a float value: the one that was dequantized, or that moved on codes.

Moving operators become integer nodes when a lowered operator first asks for their result, so that a model
where nothing can be lowered stays as it is.
"""

import onnx_ir as ir

from onnxq.graph.match import constant, is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.movement.moves import lower_move
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.parameters import why_no_parameters
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.quant.qdq import qparams_of

__all__ = ["QdqOperands"]


class QdqOperands:
    """The operands of one model. Nodes are prepared through ``rw``; say ``settle`` after each edit.

    Without a ``dialect`` moving operators stay what they are.
    """

    def __init__(self, rw: Rewriter, dialect: Dialect | None = None) -> None:
        self._rw, self._dialect = rw, dialect
        self._known: dict[ir.Value, Operand] = {}
        self._prepared: list[ir.Value] = []
        self._home: ir.Graph | ir.Function | None = None
        self.reasons: dict[ir.Node, str] = {}
        """Why a DequantizeLinear or a moving operator has no integer tensor."""

    def enter(self, graph: ir.Graph | ir.Function) -> None:
        """Nodes are prepared for this scope from now on."""
        self._home = graph

    def settle(self, *, edited: bool) -> None:
        """What was prepared is in the graph now, or was dropped."""
        for value in [] if edited else self._prepared:
            self._known.pop(value, None)
        self._prepared.clear()
        self._rw.discard()

    def get(self, value: ir.Value, /) -> Operand | None:
        """The integer tensor that stands for a float value."""
        node = value.producer()
        if node is None or value in self._known:
            return self._known.get(value)
        try:
            return self._dequantized(node) if is_op(node, "DequantizeLinear") else self._moved(node, value)
        except Refused as refusal:
            self.reasons[node] = str(refusal)
            return None

    def _dequantized(self, node: ir.Node) -> Operand:
        codes, qparams = node.inputs[0], qparams_of(node)
        if codes is None or qparams is None:
            raise Refused(why_no_parameters(node))
        if qparams.axis is not None and constant(codes) is None:
            raise Refused("it has one scale per channel on a computed tensor; give it a single scale")
        return Operand(codes, qparams)

    def _moved(self, node: ir.Node, value: ir.Value) -> Operand | None:
        if node.graph is not self._home:
            return None
        moved = lower_move(node, self, self._rw, self._dialect)
        self._known.update(moved)
        self._prepared += moved
        return moved.get(value)
