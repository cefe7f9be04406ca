"""One step of an LSTM, GRU or RNN in elementwise operators and one product by the recurrent weights.

``x`` is what the input brings to all gates, biases included: [batch, gates·H]. States are [batch, H]; None
stands for zeros, before the first step.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering._recurrent import Direction, Function, Layer
from onnxq.quant.recurrent import mark_cell, mark_step

__all__ = ["Cell", "State", "made_by"]

State: TypeAlias = tuple[ir.Value | None, ...]


class Cell:
    """Writes the steps of one direction of one layer; its constants are shared by all steps."""

    def __init__(self, rw: Rewriter, layer: Layer, direction: Direction) -> None:
        self.rw, self.layer, self.direction = rw, layer, direction
        self.kind, self.hidden = layer.node.op_type, layer.hidden
        self.dtype = direction.w.dtype
        self._constants: dict[str, ir.Value] = {}
        self._place: int | None = None
        stem = layer.node.name or layer.node.op_type.lower()
        self.name = rw.unique(f"{stem}_backward" if direction.backward else stem)
        self.order = self._gate_order()

    # --- weights ------------------------------------------------------------------------------------

    def _gate_order(self) -> list[int]:
        """Rows of the weights in the order in which the steps take them; a coupled forget gate has none."""
        gates = {"LSTM": (0, 2, 1, 3), "GRU": (0, 1, 2), "RNN": (0,)}[self.kind]
        kept = (0, 1, 3) if self.kind == "LSTM" and self.layer.input_forget else gates
        rows = np.arange(self.hidden)
        return [int(row) for gate in kept for row in gate * self.hidden + rows]

    @property
    def bias(self) -> FloatArray:
        """What is added to the input's product; of a GRU that resets behind its product not all of it."""
        total = self.direction.wb + self.direction.rb
        if self.kind == "GRU" and self.layer.linear_before_reset:
            total = np.concatenate([total[: -self.hidden], self.direction.wb[-self.hidden :]])
        return np.asarray(total[self.order])

    def constant(self, name: str, array: FloatArray) -> ir.Value:
        """A constant that all steps read."""
        if name not in self._constants:
            self._constants[name] = self.rw.const(np.asarray(array, self.dtype), f"{self.name}_{name}")
        return self._constants[name]

    def product(self, h: ir.Value, name: str, rows: Sequence[int]) -> ir.Value:
        """``h · R[rows]ᵀ``; a constant where h is one."""
        if (known := constant(h)) is not None:
            return self.rw.const(known @ self.direction.r[rows].T, f"{self.name}_{name}_first")
        r = self.constant(name, np.ascontiguousarray(self.direction.r[rows].T))
        return self.op("MatMul", h, r, width=len(rows))

    # --- operators ----------------------------------------------------------------------------------

    def op(
        self,
        op_type: str,
        *inputs: ir.Value,
        width: int | None = None,
        attributes: dict[str, AttributeValue] | None = None,
    ) -> ir.Value:
        """A value of ``width`` columns, by default those of the state."""
        shape = ir.Shape([self.layer.batch, width or self.hidden])
        made = self.rw.op(op_type, inputs, attributes, dtype=self.layer.x.dtype, shape=shape)
        mark_cell(made_by(made))
        return self._placed(made)

    def _placed(self, made: ir.Value) -> ir.Value:
        """Every step that is given a state has the same nodes in the same order."""
        if self._place is not None:
            mark_step(made_by(made), f"{self.name}/{self._place}")
            self._place += 1
        return made

    def split(self, value: ir.Value, *blocks: int) -> Sequence[ir.Value]:
        """Columns in pieces of so many gates each."""
        if len(blocks) == 1:
            return [value]
        sizes = self.rw.const(np.asarray(blocks, np.int64) * self.hidden, "gates")
        first = self.rw.op("Split", [value, sizes], {"axis": -1}, outputs=len(blocks))
        node = made_by(self._placed(first))
        for piece, n in zip(node.outputs, blocks, strict=True):
            piece.type = ir.TensorType(self.layer.x.dtype or ir.DataType.FLOAT)
            piece.shape = ir.Shape([self.layer.batch, n * self.hidden])
        return node.outputs

    def opened(self, function: Function, sums: ir.Value) -> ir.Value:
        """The function of a gate's sums, clipped first where the node says so."""
        if (bound := self.layer.clip) is not None:
            ends = self._number("low", -bound), self._number("high", bound)
            sums = self.op("Clip", sums, *ends, width=self._width(sums))
        return self.apply(function, sums)

    def apply(self, function: Function, value: ir.Value) -> ir.Value:
        """The function of a value."""
        width = self._width(value)
        if function.name in ("Affine", "ScaledTanh"):
            return self._scaled(function, value, width)
        attributes: dict[str, AttributeValue] = {}
        if function.name in ("Elu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid"):
            attributes["alpha"] = function.alpha
        if function.name == "HardSigmoid":
            attributes["beta"] = function.beta
        return self.op(function.name, value, width=width, attributes=attributes)

    def _scaled(self, function: Function, value: ir.Value, width: int) -> ir.Value:
        """``alpha · x + beta``, or ``alpha · Tanh(beta · x)``."""
        alpha, beta = self._number("alpha", function.alpha), self._number("beta", function.beta)
        if function.name == "Affine":
            return self.op("Add", self.op("Mul", value, alpha, width=width), beta, width=width)
        tanh = self.op("Tanh", self.op("Mul", value, beta, width=width), width=width)
        return self.op("Mul", tanh, alpha, width=width)

    def _number(self, name: str, number: float) -> ir.Value:
        return self.constant(f"{name}_{number!r}", np.asarray(number))

    def _width(self, value: ir.Value) -> int:
        assert value.shape is not None, "values of a cell have a shape"
        columns = value.shape[1]
        assert isinstance(columns, int), "the columns of a cell are known"
        return columns

    # --- steps --------------------------------------------------------------------------------------

    def step(self, x: ir.Value, state: State) -> tuple[ir.Value, ...]:
        """The state after one step."""
        self._place = None if any(h is None or constant(h) is not None for h in state) else 0
        return {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.kind](x, state)

    def _rnn(self, x: ir.Value, state: State) -> tuple[ir.Value, ...]:
        """``H = f(x + h·Rᵀ)``."""
        (h,) = state
        return (self.opened(self.direction.functions[0], self._plus(x, h, "r", self.order)),)

    def _plus(self, x: ir.Value, h: ir.Value | None, name: str, rows: Sequence[int]) -> ir.Value:
        if h is None:
            return x
        return self.op("Add", x, self.product(h, name, rows), width=len(rows))

    def _lstm(self, x: ir.Value, state: State) -> tuple[ir.Value, ...]:
        """``C = f·c + i·g,  H = o·h(C)``; input_forget: f = 1 − i; with peepholes gates see c and C."""
        h, c = state
        sums = self._plus(x, h, "r", self.order)
        f, g, _ = self.direction.functions
        gates = 2 if self.layer.input_forget else 3
        if self.direction.p is not None:
            return self._peeping(sums, c)
        opened, candidate = self.split(sums, gates, 1)
        i, *forget, o = self.split(self.opened(f, opened), *[1] * gates)
        cell = self._cell(i, forget[0] if forget else None, self.opened(g, candidate), c)
        return self._hidden(o, cell), cell

    def _peeping(self, sums: ir.Value, c: ir.Value | None) -> tuple[ir.Value, ...]:
        f, g, _ = self.direction.functions
        coupled = self.layer.input_forget
        i, *forget, o, candidate = self.split(sums, *[1] * (3 if coupled else 4))
        i = self.opened(f, self._peep(i, c, 0))
        opened = self.opened(f, self._peep(forget[0], c, 2)) if forget and c is not None else None
        cell = self._cell(i, opened, self.opened(g, candidate), c)
        return self._hidden(self.opened(f, self._peep(o, cell, 1)), cell), cell

    def _peep(self, sums: ir.Value, c: ir.Value | None, gate: int) -> ir.Value:
        """``sums + p·c``."""
        if c is None or self.direction.p is None:
            return sums
        p = self.direction.p[gate * self.hidden : (gate + 1) * self.hidden]
        return self.op("Add", sums, self.op("Mul", c, self.constant("iof"[gate] + "_peephole", p)))

    def _cell(self, i: ir.Value, f: ir.Value | None, g: ir.Value, c: ir.Value | None) -> ir.Value:
        """``f·c + i·g``; where f is 1 − i, ``c + i·(g − c)``."""
        if self.layer.input_forget:
            return self._towards(c, g, i)
        new = self.op("Mul", i, g)
        return new if c is None or f is None else self.op("Add", self.op("Mul", f, c), new)

    def _towards(self, start: ir.Value | None, end: ir.Value, share: ir.Value) -> ir.Value:
        if start is None:
            return self.op("Mul", share, end)
        return self.op("Add", start, self.op("Mul", share, self.op("Sub", end, start)))

    def _hidden(self, o: ir.Value, cell: ir.Value) -> ir.Value:
        """Bounded, and read by products: the one value of a cell that is not marked."""
        return self._placed(self.rw.op("Mul", [o, self.apply(self.direction.functions[2], cell)], like=cell))

    def _gru(self, x: ir.Value, state: State) -> tuple[ir.Value, ...]:
        """``H = g + z·(h − g)``, g of ``(r·h)·Rᵀ``, or of ``r·(h·Rᵀ + b)`` with linear_before_reset."""
        (h,) = state
        f = self.direction.functions[0]
        opened, candidate = self.split(x, 2, 1)
        rows = len(self.order) - self.hidden
        if self.layer.linear_before_reset:
            opened, candidate = self._reset_behind(opened, candidate, h)
            return self._leave(opened, candidate, h)
        opened = self._plus(opened, h, "r_gates", self.order[:rows])
        z, r = self.split(self.opened(f, opened), 1, 1)
        if h is not None:
            candidate = self._plus(candidate, self.op("Mul", r, h), "r_candidate", self.order[rows:])
        return self._leave(z, candidate, h)

    def _reset_behind(
        self, opened: ir.Value, candidate: ir.Value, h: ir.Value | None
    ) -> tuple[ir.Value, ir.Value]:
        """The gate z and the sums of the candidate."""
        rb, rows = self.direction.rb[-self.hidden :], len(self.order)
        if h is None:
            recurrent = self.constant("rb", rb)
        else:
            bias = self.constant("rb_after_zeros", np.concatenate([np.zeros(rows - self.hidden), rb]))
            sums = self.op("Add", self.product(h, "r", self.order), bias, width=rows)
            gates, recurrent = self.split(sums, 2, 1)
            opened = self.op("Add", opened, gates, width=rows - self.hidden)
        z, r = self.split(self.opened(self.direction.functions[0], opened), 1, 1)
        return z, self.op("Add", candidate, self.op("Mul", r, recurrent))

    def _leave(self, z: ir.Value, candidate: ir.Value, h: ir.Value | None) -> tuple[ir.Value, ...]:
        g = self.opened(self.direction.functions[1], candidate)
        if h is None:
            return (self.op("Sub", g, self.op("Mul", z, g)),)
        return (self.op("Add", g, self.op("Mul", z, self.op("Sub", h, g))),)


def made_by(value: ir.Value) -> ir.Node:
    """The node of a prepared value."""
    node = value.producer()
    assert node is not None, "rw.op prepares a node"
    return node
