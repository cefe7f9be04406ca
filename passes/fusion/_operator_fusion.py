"""What the fusions of a formula to one operator have in common: decide first, then do.

A pass says which nodes are the formula (:class:`Fusion`, plain data). This base replaces them, and raises the
model's opset if the operator is newer; where the opset cannot be raised, every formula found is a skip.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import onnx_ir as ir

from onnxq.errors import PassError
from onnxq.graph.match import is_float, is_op
from onnxq.graph.numeric import Array
from onnxq.graph.opset import can_relabel, opset, relabel
from onnxq.graph.polynomial import Polynomial, readings
from onnxq.graph.rewriter import AttributeValue, Rewriter, describe
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.base import Pass
from onnxq.pipeline.context import Context

__all__ = ["Fusion", "OperatorFusion", "fuse_result", "saves_work"]


@dataclass(frozen=True)
class Fusion:
    """Nodes that one operator replaces: makers before readers, the last one makes the result.

    With ``perm`` the operator works on its first input transposed, and its result is transposed back.
    """

    op_type: str
    inputs: Sequence[ir.Value | Array]
    attributes: Mapping[str, AttributeValue]
    nodes: Sequence[ir.Node]
    perm: Sequence[int] | None = None


@dataclass(frozen=True)
class OperatorFusion(Pass):
    """Replaces what :meth:`match` finds around every ``root`` operator."""

    root: ClassVar[tuple[str, ...]]
    since: ClassVar[int]
    """The opset from which on the fused operator exists."""

    @abstractmethod
    def match(self, node: ir.Node, /) -> Fusion | str | None:
        """The formula around a node, or why it is left alone, or None if there is none."""

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        obstacle = cache(lambda: _raise_opset(rw.model, self.since))
        for node in all_nodes(rw.model):
            if node.graph is None or not is_op(node, *self.root):
                continue
            try:
                found = self.match(node)
            except Exception as error:
                raise PassError(f"{self.name} failed at {describe(node)}: {error}") from error
            reason = obstacle() if isinstance(found, Fusion) else found
            if reason is not None:
                rw.skip(node, reason)
            elif isinstance(found, Fusion):
                _fuse(found, rw)


def fuse_result(
    op_type: str,
    x: ir.Value,
    attributes: Mapping[str, AttributeValue],
    formula: Polynomial,
    nodes: Sequence[ir.Node],
) -> Fusion | str | None:
    """``op_type(x)`` for ``nodes``, which end in ``k``, and those behind them that make ``formula(x, k)``.

    None where the graph computes no such formula, a reason where it does but ``k`` is read elsewhere too.
    """
    key = nodes[-1].outputs[0]
    for reading in readings(key, x):
        if not reading.polynomial.is_close(formula):
            continue
        if not is_float(x):
            return f"is part of a {op_type}, but '{x.name}' is not known to be float32"
        everything = list(dict.fromkeys([*nodes, *reading.nodes]))
        if saves_work(everything, nodes[-1]):
            return Fusion(op_type, [x], attributes, everything)
        return f"is part of a {op_type}, but its output is also read outside of that formula"
    return None


def saves_work(nodes: Sequence[ir.Node], key: ir.Node) -> bool:
    """Whether ``key``, the expensive one of ``nodes``, would be unread without the last of them."""
    gone = {nodes[-1]}
    for node in reversed(nodes[:-1]):
        read = any(use.node not in gone for value in node.outputs for use in value.uses())
        if not read and not any(value.is_graph_output() for value in node.outputs):
            gone.add(node)
    return key in gone


def _fuse(fusion: Fusion, rw: Rewriter) -> None:
    result = fusion.nodes[-1].outputs[0]
    inputs = [i if isinstance(i, ir.Value) else rw.const(i, f"{result.name}_weight") for i in fusion.inputs]
    if fusion.perm is None:
        return rw.replace(fusion.nodes, rw.op(fusion.op_type, inputs, fusion.attributes, like=result))
    there, back = list(fusion.perm), sorted(range(len(fusion.perm)), key=fusion.perm.__getitem__)
    shape = inputs[0].shape
    moved = None if shape is None else ir.Shape([shape[axis] for axis in there])
    inputs[0] = rw.op("Transpose", inputs[:1], {"perm": there}, dtype=inputs[0].dtype, shape=moved)
    fused = rw.op(fusion.op_type, inputs, fusion.attributes, like=inputs[0])
    return rw.replace(fusion.nodes, rw.op("Transpose", [fused], {"perm": back}, like=result))


def _raise_opset(model: ir.Model, since: int) -> str | None:
    """Make the operator available; the reason where that is not possible."""
    if opset(model) >= since:
        return None
    reasons = can_relabel(model, since)
    if reasons:
        return f"needs opset {since}, but the model must stay at {opset(model)}: {reasons[0]}"
    relabel(model, since)
    return None
