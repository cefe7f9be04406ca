"""A recurrent node as its steps: the input's product for all of them at once, the steps, the outputs."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering._cells import Cell, State, made_by
from onnxq.passes.lowering._recurrent import Direction, Layer
from onnxq.quant.recurrent import is_in_cell, mark_cell

__all__ = ["unrolled"]

Dim: TypeAlias = int | ir.SymbolicDim | None


def unrolled(rw: Rewriter, layer: Layer) -> tuple[list[ir.Value], list[ir.Node]]:
    """Prepare the nodes that compute the outputs of a recurrent node.

    Returns the outputs, the input in place of one that nobody reads, and nodes that are left over if nobody
    reads them.
    """
    return _Unrolled(rw, layer).outputs()


class _Unrolled:
    def __init__(self, rw: Rewriter, layer: Layer) -> None:
        self.rw, self.layer = rw, layer
        self.dtype = layer.x.dtype or ir.DataType.FLOAT

    def outputs(self) -> tuple[list[ir.Value], list[ir.Node]]:
        """Y, Y_h and Y_c as far as the node has them, and the makers of the last hidden states."""
        initial = zip(*(self._initials(i) for i in range(self.layer.states)), strict=True)
        runs = [self._run(*each) for each in zip(self.layer.directions, initial, strict=True)]
        read = [output.uses() or output.is_graph_output() for output in self.layer.node.outputs]
        made = [self.layer.x for _ in read]
        if read[0]:
            made[0] = self._sequence([[run_state[0] for run_state in run] for run in runs])
        for i, wanted in enumerate(read[1:]):
            if wanted:
                last = [run[-1][i] for run in runs]
                made[i + 1] = self._last([self._own(state) for state in last] if read[0] or i else last)
        return made, [made_by(run[-1][0]) for run in runs]

    def _run(self, direction: Direction, state: State) -> list[tuple[ir.Value, ...]]:
        """The states after each step, in the order in which the direction takes them."""
        cell = Cell(self.rw, self.layer, direction)
        parts = self._parts(cell)
        states = []
        for x in reversed(parts) if direction.backward else parts:
            states.append(cell.step(x, state))
            state = states[-1]
        return states

    def _parts(self, cell: Cell) -> list[ir.Value]:
        """``x · Wᵀ + b`` of each step, [batch, gates·H]; one product for all steps."""
        w = np.ascontiguousarray(cell.direction.w[cell.order].T)
        width = w.shape[1]
        shape = ir.Shape([*list(self.layer.x.shape or ())[:2], width])
        inputs = [self.layer.x, cell.constant("w", w)]
        sums = self.rw.op("MatMul", inputs, dtype=self.dtype, shape=shape.copy())
        mark_cell(made_by(sums))
        if cell.bias.any():
            sums = self.rw.op("Add", [sums, cell.constant("b", cell.bias)], dtype=self.dtype, shape=shape)
            mark_cell(made_by(sums))
        return self._apart(sums, self._time, self.layer.steps, [self.layer.batch, width])

    @property
    def _time(self) -> int:
        """The axis of the steps in X and, of Y, that of the first one beside it, the directions."""
        return 1 if self.layer.batch_first else 0

    def _apart(self, value: ir.Value, axis: int, count: int, dims: Sequence[Dim]) -> list[ir.Value]:
        """The slices along an axis, without it."""
        pieces: Sequence[ir.Value] = [value]
        if count > 1:
            each = self.rw.const(np.ones(count, np.int64), "ones")
            first = self.rw.op("Split", [value, each], {"axis": axis}, outputs=count)
            pieces = made_by(first).outputs
            for piece in pieces:
                piece.type, piece.shape = ir.TensorType(self.dtype), ir.Shape(_with(dims, axis))
        axes = self.rw.const(np.asarray([axis], np.int64), "axes")
        return [self._op("Squeeze", [piece, axes], dims) for piece in pieces]

    def _initials(self, state: int) -> Sequence[ir.Value | None]:
        """The state of each direction before its first step."""
        count = len(self.layer.directions)
        if (given := self.layer.initial(state)) is None:
            return [None] * count
        if (known := constant(given)) is not None:
            return [self.rw.const(known.take(i, self._time), "initial") for i in range(count)]
        values = self._apart(given, self._time, count, [self.layer.batch, self.layer.hidden])
        for value in values if state == self.layer.states - 1 else ():
            mark_cell(made_by(value))
        return values

    def _sequence(self, hidden: Sequence[Sequence[ir.Value]]) -> ir.Value:
        """Y: [T, D, batch, H], or [batch, T, D, H]."""
        time, lanes = self._time, []
        axes = self.rw.const(np.asarray([time, time + 1], np.int64), "axes")
        for states, direction in zip(hidden, self.layer.directions, strict=True):
            ordered = list(reversed(states)) if direction.backward else list(states)
            dims = _with(_with([self.layer.batch, self.layer.hidden], time), time + 1)
            steps = [self._op("Unsqueeze", [state, axes], dims) for state in ordered]
            lanes.append(self._joined(steps, time))
        return self._joined(lanes, time + 1)

    def _last(self, states: Sequence[ir.Value]) -> ir.Value:
        """Y_h or Y_c: [D, batch, H], or [batch, D, H]."""
        axis = self._time
        axes = self.rw.const(np.asarray([axis], np.int64), "axes")
        dims = _with([self.layer.batch, self.layer.hidden], axis)
        return self._joined([self._op("Unsqueeze", [state, axes], dims) for state in states], axis)

    def _own(self, state: ir.Value) -> ir.Value:
        """The state computed once more: it leaves with a scale that the steps need not share."""
        node = made_by(state)
        again = self.rw.op(node.op_type, node.inputs, dict(node.attributes), like=state)
        if is_in_cell(node):
            mark_cell(made_by(again))
        return again

    def _joined(self, values: Sequence[ir.Value], axis: int) -> ir.Value:
        if len(values) == 1:
            return values[0]
        dims: list[Dim] = list(values[0].shape or ())
        dims[axis] = len(values)
        return self._op("Concat", values, dims, axis=axis)

    def _op(
        self, op_type: str, inputs: Sequence[ir.Value], dims: Sequence[Dim], axis: int | None = None
    ) -> ir.Value:
        return self.rw.op(op_type, inputs, {"axis": axis}, dtype=self.dtype, shape=ir.Shape(dims))


def _with(dims: Sequence[Dim], axis: int) -> list[Dim]:
    """The shape with one more axis of length 1."""
    return [*dims[:axis], 1, *dims[axis:]]
