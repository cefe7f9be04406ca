"""Fake-quant moves to where integer runtimes look for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_float, is_op, producer, sole_consumer
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.qdq import dequantized, qparams_of
from onnxq.quant.qparams import QParams

__all__ = ["PushFakeQuant"]

_ONE = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that pick elements of their first input."""


@dataclass(frozen=True)
class PushFakeQuant(Pass):
    """Move and repeat trained Q/DQ pairs so that integer operators stand between DQ and Q; codes stay.

        Relu(DQ(Q(x)))                        =>  DQ(Q(Relu(x)))                1
        MaxPool(DQ(q, s, z))                  =>  DQ(Q(MaxPool(DQ(q, s, z))))   2
        Q(MaxPool(x), s, z)                   =>  Q(MaxPool(DQ(Q(x, s, z))))    3
        Q(DQ(Q(x, s, z), s, z), s, z ± 128)   =>  Q(x, s, z ± 128)              4
        DQ(MaxPool(q), s, z)                  =>  MaxPool(DQ(q, s, z))          5

    1. Rounding keeps order and zero is a code, so Relu commutes with a pair; Clip does where both bounds are
       codes or lie beyond them. What is left of the Conv before is one operator with its Relu.
    2. Behind operators that only pick elements (Reshape, Transpose, MaxPool, Slice, Gather …, Concat of equal
       parameters) the codes are the same: the pair is repeated for readers that are no QuantizeLinear.
    3. In front of such operators the pair that follows them is repeated, where only they read the value.
    4. Quantized twice, where the second pair only changes int8 for uint8 or back: once.
    5. What picks among bare codes, as integer graphs do, picks among real numbers; then 2 applies.
    """

    name: ClassVar[str] = "push-fake-quant"
    contract: ClassVar[Contract] = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        for node in all_nodes(rw.model):
            if is_op(node, "DequantizeLinear"):
                _lift(node, rw)
        for node in all_nodes(rw.model):
            if is_op(node, "Relu", "Clip"):
                _commute(node, rw)
        for node in all_nodes(rw.model):
            if is_op(node, "QuantizeLinear"):
                _once(node, rw)
        for node in all_nodes(rw.model):
            if _moves(node):
                _behind(node, rw)
        for node in reversed(list(all_nodes(rw.model))):
            if _moves(node):
                _in_front(node, rw)


def _lift(pair: ir.Node, rw: Rewriter) -> None:
    """Moves of codes in front of a DequantizeLinear go behind it, one after the other."""
    qparams = qparams_of(pair)
    while qparams is not None and qparams.axis is None and pair.graph is not None:
        move = producer(pair, 0, *_ONE)
        if move is None or not _moves(move) or sole_consumer(move.outputs[0]) is not pair:
            return
        codes, output = move.inputs[0], pair.outputs[0]
        if codes is None or constant(codes) is not None:
            return
        real = rw.op("DequantizeLinear", [codes, *pair.inputs[1:]], like=codes, dtype=ir.DataType.FLOAT)
        moved = rw.op(move.op_type, [real, *move.inputs[1:]], move.attributes, like=output)
        rw.replace([move, pair], moved)
        pair = real.producer() or pair


def _commute(node: ir.Node, rw: Rewriter) -> None:
    """Relu or Clip behind a pair that nobody else reads goes in front of it."""
    found = dequantized(get_input(node, 0))
    quantize = None if found is None else producer(found[0], 0, "QuantizeLinear")
    if found is None or quantize is None or (x := quantize.inputs[0]) is None or constant(x) is not None:
        return
    pair, qparams = found
    inner = qparams_of(quantize)
    alone = sole_consumer(pair.outputs[0]) is node and sole_consumer(quantize.outputs[0]) is pair
    if not alone or inner is None or not inner.same_as(qparams) or not _on_grid(node, qparams):
        return
    output = node.outputs[0]
    moved = rw.op(node.op_type, [x, *node.inputs[1:]], node.attributes, like=output)
    codes = rw.op(
        "QuantizeLinear", [moved, *quantize.inputs[1:]], quantize.attributes, like=quantize.outputs[0]
    )
    real = rw.op("DequantizeLinear", [codes, *pair.inputs[1:]], pair.attributes, like=output)
    rw.replace([quantize, pair, node], real)


def _on_grid(node: ir.Node, qparams: QParams) -> bool:
    """Whether the bounds of a Relu or Clip are codes, or beyond all codes."""
    if is_op(node, "Relu"):
        return True
    if qparams.axis is not None:
        return False
    ends = qparams.dequantize(np.array([qparams.format.qmin, qparams.format.qmax]))
    for i, beyond in ((1, np.less_equal), (2, np.greater_equal)):
        value = get_input(node, i)
        bound = constant(value)
        if value is None:
            continue
        if bound is None or bound.size != 1:
            return False
        real = bound.astype(np.float32).reshape(())
        if not beyond(real, ends[i - 1]) and qparams.dequantize(qparams.quantize(real)) != real:
            return False
    return True


def _once(second: ir.Node, rw: Rewriter) -> None:
    """A pair in front of a QuantizeLinear that differs from it by int8 for uint8 alone is passed by."""
    found = dequantized(get_input(second, 0))
    first = None if found is None else producer(found[0], 0, "QuantizeLinear")
    outer = qparams_of(second)
    inner = None if first is None else qparams_of(first)
    if found is None or first is None or inner is None or outer is None or not inner.same_as(found[1]):
        return
    if inner.format == outer.format or inner.format.bits != outer.format.bits or inner.axis != outer.axis:
        return
    lowest = [p.zero_point.astype(np.int64) - p.format.qmin for p in (inner, outer)]
    if np.array_equal(inner.scale, outer.scale) and np.array_equal(lowest[0], lowest[1]):
        rw.set_input(second, 0, first.inputs[0])
        rw.remove(found[0], first)


def _moves(node: ir.Node) -> bool:
    if is_op(node, "Concat"):
        return True
    return is_op(node, *_ONE) and not any(output.uses() for output in node.outputs[1:])


def _data(node: ir.Node) -> Sequence[ir.Value]:
    values = node.inputs if is_op(node, "Concat") else node.inputs[:1]
    return [value for value in values if value is not None]


def _behind(node: ir.Node, rw: Rewriter) -> None:
    """Repeat the pair in front of a move behind it."""
    found = [dequantized(value) for value in _data(node)]
    output = node.outputs[0]
    readers = [reader for reader in consumers(output) if not is_op(reader, "QuantizeLinear")]
    if not found or found[0] is None or not is_float(output) or not readers:
        return
    pair, qparams = found[0]
    if qparams.axis is not None or any(f is None or not f[1].same_as(qparams) for f in found):
        return
    if all(constant(value.producer().inputs[0]) is not None for value in _data(node)):  # type: ignore[union-attr]
        return
    rw.interpose(output, _pair(output, pair, qparams, rw), readers)


def _in_front(node: ir.Node, rw: Rewriter) -> None:
    """Repeat the pair behind a move in front of it."""
    quantize = sole_consumer(node.outputs[0], "QuantizeLinear")
    qparams = None if quantize is None else qparams_of(quantize)
    if quantize is None or qparams is None or qparams.axis is not None:
        return
    for value in dict.fromkeys(_data(node)):
        if is_op(producer(value), "DequantizeLinear") or constant(value) is not None:
            continue
        if sole_consumer(value) is node and is_float(value):
            rw.interpose(value, _pair(value, quantize, qparams, rw), [node])


def _pair(value: ir.Value, like: ir.Node, qparams: QParams, rw: Rewriter) -> ir.Value:
    """A pair behind ``value`` with the parameters of another Q or DQ."""
    params = like.inputs[1:]
    if len(params) < 2 or params[1] is None:
        params = (params[0], rw.const(qparams.zero_point, f"{value.name}_zero_point"))
    dtype = qparams.format.ir_dtype
    codes = rw.op("QuantizeLinear", [value, *params], like=value, dtype=dtype)
    return rw.op("DequantizeLinear", [codes, *params], like=value)
