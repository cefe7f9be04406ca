"""Reduced axes that a Reshape puts back stay."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.length_algebra import ONE
from onnxq.graph.length_rules import BROADCASTING, REDUCTIONS, reduced_axes
from onnxq.graph.lengths import Lengths
from onnxq.graph.match import consumers, is_op, producer, scalar
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["KeepReducedAxes"]

_ELEMENTWISE = BROADCASTING | {"Sqrt", "Reciprocal", "Neg", "Exp", "Log", "Abs", "Relu", "Identity"}
_MAX_NODES = 32


@dataclass(frozen=True)
class _Region:
    """Reductions over the same axes and what is elementwise behind them; ``exits`` put the axes back."""

    axes: Sequence[int]
    nodes: Sequence[ir.Node]
    exits: Sequence[ir.Node]


@dataclass(frozen=True)
class KeepReducedAxes(Pass):
    """Let a reduction keep its axes as 1, where they are put back later.

           m = ReduceMean{keepdims=0}(x, [1])      y = x − Reshape(m · m, [-1, 1, 256])
        => m = ReduceMean{keepdims=1}(x, [1])      y = x − m · m

    The way of JAX and TensorFlow. Between the reduction and the Reshape or Unsqueeze may be elementwise
    operators of numbers and of several reductions of equal form. Left alone where anything else reads the
    short form.
    """

    name = "keep-reduced-axes"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        lengths: Lengths | None = None
        for node in all_nodes(rw.model):
            if node.graph is None or not _drops_axes(node):
                continue
            lengths = lengths or Lengths(rw.model)
            if (region := _Search(node, lengths).region()) is not None:
                _keep(region, rw)


def _keep(region: _Region, rw: Rewriter) -> None:
    for node in region.nodes:
        value = node.outputs[0]
        if _drops_axes(node):
            rw.set_attribute(node, "keepdims", 1)
        dims = None if value.shape is None else list(value.shape)
        for axis in region.axes if dims is not None else ():
            dims.insert(axis, 1)  # type: ignore[union-attr]
        value.shape = None if dims is None else ir.Shape(dims)
    for node in region.exits:
        kept = node.inputs[0]
        assert kept is not None, "the search came through it"
        rw.bypass(node, kept)


def _drops_axes(node: ir.Node) -> bool:
    return is_op(node, *REDUCTIONS) and not node.attributes.get_int("keepdims", 1)


class _Search:
    """Walks from one reduction to all that is elementwise around it."""

    def __init__(self, start: ir.Node, lengths: Lengths) -> None:
        self.start, self.lengths = start, lengths
        shape, axes = lengths.of(start.inputs[0]), reduced_axes(start)
        self.axes = sorted(axis % len(shape) for axis in axes) if shape else []
        self.long = tuple(ONE if i in self.axes else length for i, length in enumerate(shape or ()))
        self.short = tuple(length for i, length in enumerate(self.long) if i not in self.axes)

    def region(self) -> _Region | None:
        """None where something reads or makes the short form that could not do with the long one."""
        found: dict[ir.Node, None] = {}
        exits: dict[ir.Node, None] = {}
        stack = [self.start]
        while stack and self.axes:
            node = stack.pop()
            if node in found or node in exits:
                continue
            if self._restores(node):
                exits[node] = None
                continue
            around = self._around(node)
            if around is None or len(found) == _MAX_NODES:
                return None
            found[node] = None
            stack += around
        return _Region(self.axes, list(found), list(exits)) if exits else None

    def _restores(self, node: ir.Node) -> bool:
        y = node.outputs[0]
        return (
            is_op(node, "Reshape", "Unsqueeze")
            and self.lengths.of(y) == self.long
            and not y.is_graph_output()
        )

    def _around(self, node: ir.Node) -> list[ir.Node] | None:
        """Makers and readers of a node of the region; None where it cannot be one."""
        y = node.outputs[0]
        if y.is_graph_output() or node.graph is not self.start.graph or self.lengths.of(y) != self.short:
            return None
        readers = consumers(y)
        if _drops_axes(node):
            return readers if self._alike(node) else None
        varying = [v for v in node.inputs if v is not None and scalar(v) is None]
        makers = [maker for v in varying if (maker := producer(v)) is not None]
        if not is_op(node, *_ELEMENTWISE) or len(makers) < len(varying):
            return None
        return [*makers, *readers]

    def _alike(self, reduction: ir.Node) -> bool:
        shape = self.lengths.of(reduction.inputs[0])
        if shape is None or len(shape) != len(self.long):
            return False
        axes = sorted(axis % len(shape) for axis in reduced_axes(reduction))
        return axes == self.axes
