"""int8 or uint8 for the inner tensors of a Q/DQ graph, as what reads them wants."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxq.graph.match import consumers, get_input, is_op, producer
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import scopes
from onnxq.passes.lowering.integer.movement.moves import MOVES
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.retyped import retyped_qparams
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.qdq import qparams_of

__all__ = ["ChooseIntegerTypes"]

INT8, UINT8 = ir.DataType.INT8, ir.DataType.UINT8
JOINS = MOVES | {"Max", "Min", "Where"}
CONVOLUTIONS = ("Conv", "ConvTranspose", "AveragePool")
PRODUCTS = ("Gemm", "MatMul")


class _Groups:
    """Tensors of codes that keep one type, by union and find."""

    def __init__(self) -> None:
        self.parents: dict[ir.Value, ir.Value] = {}

    def find(self, codes: ir.Value) -> ir.Value:
        while (parent := self.parents.setdefault(codes, codes)) is not codes:
            codes = parent
        return codes

    def join(self, a: ir.Value, b: ir.Value) -> None:
        self.parents[self.find(a)] = self.find(b)


@dataclass(frozen=True)
class ChooseIntegerTypes(Pass):
    """Give each inner tensor of a Q/DQ graph int8 or uint8, whichever lower-integer's dialect runs faster.

           QuantizeLinear(x, s, z: uint8)   =>   QuantizeLinear(x, s, z − 128: int8)      or back

    Codes and zero point move together, so that every number stays the same. ``fast`` wants int8 in front of
    a Conv, where ONNX Runtime multiplies weights of uint8 from the left, and uint8 on the left of a MatMul or
    Gemm, int8 on its right. ``portable`` wants uint8, since ONNX Runtime before 1.24 convolves nothing else.
    ``int32`` wants int8, since some runtimes pool the maximum of uint8 as if it had a sign.

    Tensors that moving and selecting operators join keep one type. Inputs and outputs of the model keep
    theirs, and so does a tensor that anything but a DequantizeLinear reads.
    """

    name: ClassVar[str] = "choose-integer-types"
    contract: ClassVar[Contract] = Contract.EXACT

    dialect: Dialect = Dialect.FAST

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        _choose(rw, self.dialect)


def _choose(rw: Rewriter, dialect: Dialect) -> None:
    quantizers = [
        node
        for scope in scopes(rw.model)
        if not scope.is_function
        for node in scope.graph
        if is_op(node, "QuantizeLinear")
    ]
    groups, wishes = _Groups(), dict[ir.Value, Counter[ir.DataType]]()
    for node in quantizers:
        for source in _sources(node.inputs[0]):
            groups.join(node.outputs[0], source)
    members = {node.outputs[0] for node in quantizers}
    fixed = {groups.find(codes) for codes in groups.parents if codes not in members}
    fixed |= {groups.find(node.outputs[0]) for node in quantizers if not _free(node)}
    for node in quantizers:
        wish = wishes.setdefault(groups.find(node.outputs[0]), Counter())
        wish.update(_wishes(node.outputs[0], dialect))
    for node in quantizers:
        group = groups.find(node.outputs[0])
        if group not in fixed and wishes[group]:
            _set_type(rw, node, wishes[group].most_common(1)[0][0])


def _sources(value: ir.Value | None) -> Iterator[ir.Value]:
    """The codes that reach a value through operators that only move or choose."""
    stack, seen = [value], set[ir.Value]()
    while stack:
        node = producer(stack.pop())
        if node is None or node.outputs[0] in seen:
            continue
        seen.add(node.outputs[0])
        if is_op(node, "DequantizeLinear") and (codes := node.inputs[0]) is not None:
            if codes.const_value is None:
                yield codes
        elif node.op_type in JOINS:
            stack += node.inputs


def _free(quantize: ir.Node) -> bool:
    """Whether nothing but DequantizeLinears inside the graph sees the type of the codes."""
    codes, qparams = quantize.outputs[0], qparams_of(quantize)
    source = quantize.inputs[0]
    if qparams is None or qparams.format.bits != 8 or qparams.axis is not None:
        return False
    if codes.is_graph_output() or source is None or source.is_graph_input() or not _explicit(quantize):
        return False
    return all(
        is_op(reader, "DequantizeLinear")
        and _explicit(reader)
        and not reader.outputs[0].is_graph_output()
        and (other := qparams_of(reader)) is not None
        and other.format == qparams.format
        for reader in consumers(codes)
    )


def _explicit(node: ir.Node) -> bool:
    return get_input(node, 2) is not None and node.attributes.get_int("output_dtype", 0) == 0


def _wishes(codes: ir.Value, dialect: Dialect) -> Iterator[ir.DataType]:
    if dialect != Dialect.FAST:
        yield UINT8 if dialect == Dialect.PORTABLE else INT8
        return
    stack = [node.outputs[0] for node in consumers(codes)]
    while stack:
        value = stack.pop()
        for reader in consumers(value):
            if is_op(reader, *CONVOLUTIONS):
                yield INT8
            elif is_op(reader, *PRODUCTS):
                yield UINT8 if reader.inputs[0] is value else INT8
            elif reader.op_type in MOVES:
                stack += reader.outputs


def _set_type(rw: Rewriter, quantize: ir.Node, dtype: ir.DataType) -> None:
    codes, qparams = quantize.outputs[0], qparams_of(quantize)
    if qparams is None or qparams.format.ir_dtype == dtype:
        return
    moved = retyped_qparams(qparams, dtype)
    for node in (quantize, *consumers(codes)):
        value = node.inputs[2]
        rw.set_input(node, 2, rw.const(moved.zero_point, (value.name if value else None) or "zero_point"))
    rw.set_type(codes, dtype)
