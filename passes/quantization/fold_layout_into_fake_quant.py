"""Transpose and Reshape of fake-quantized constants."""

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op
from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.quantization._fake_constants import read_constant, write_constant
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FoldLayoutIntoFakeQuant"]


@dataclass(frozen=True)
class FoldLayoutIntoFakeQuant(NodePass):
    """Lay out the codes of a fake-quantized constant anew, and let the axis of its scales follow.

           Transpose<perm>(DequantizeLinear<axis = a>(W_q, s, z))
        => DequantizeLinear<axis = a'>(Transpose(W_q), s, z)                    with perm[a'] = a

    Reshape, Flatten, Squeeze and Unsqueeze likewise, where the axis of the scales stays an axis of its own:
    as long as before, with as many elements in front of it. A float constant before a pair becomes codes.
    QAT exports transpose the weights of every linear layer, and the weight of a MatMul must be a constant
    behind one DequantizeLinear for runtimes to see it.
    """

    name = "fold-layout-into-fake-quant"
    contract = Contract.EXACT
    root = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        weight = read_constant(get_input(node, 0))
        if weight is None or node.outputs[0].is_graph_output():
            return None
        codes = _laid_out(node, weight.codes)
        if codes is None:
            return rw.skip(node, "its shape or axes are not constant")
        axis = weight.qparams.axis
        moved = None if axis is None else _follow(node, weight.codes.shape, codes.shape, axis)
        if axis is not None and moved is None:
            return rw.skip(node, f"the axis {axis} of its scales does not stay an axis of its own")
        new = write_constant(rw, codes, replace(weight.qparams, axis=moved), weight.name)
        rw.replace([weight.pair, node], new)
        return None


def _laid_out(node: ir.Node, codes: IntArray) -> IntArray | None:
    if is_op(node, "Identity"):
        return codes
    if is_op(node, "Transpose"):
        return np.transpose(codes, _perm(node, codes.ndim))
    if is_op(node, "Flatten"):
        axis = node.attributes.get_int("axis", 1) % (codes.ndim + 1)
        return codes.reshape(math.prod(codes.shape[:axis]), -1)
    given = constant(get_input(node, 1))
    if given is None:
        return np.squeeze(codes) if is_op(node, "Squeeze") and get_input(node, 1) is None else None
    numbers = [int(number) for number in given.reshape(-1)]
    if is_op(node, "Squeeze"):
        return np.squeeze(codes, tuple(numbers))
    if is_op(node, "Unsqueeze"):
        return np.expand_dims(codes, tuple(numbers))
    kept = not node.attributes.get_int("allowzero", 0)
    return codes.reshape([codes.shape[i] if n == 0 and kept else n for i, n in enumerate(numbers)])


def _perm(node: ir.Node, axes: int) -> list[int]:
    perm = node.attributes.get("perm")
    return list(range(axes))[::-1] if perm is None else list(perm.as_ints())


def _follow(node: ir.Node, was: tuple[int, ...], now: tuple[int, ...], axis: int) -> int | None:
    """Where an axis goes; None if it is split or merged."""
    if is_op(node, "Transpose"):
        return _perm(node, len(was)).index(axis)
    front = math.prod(was[:axis])
    places = [i for i, n in enumerate(now) if n == was[axis] and math.prod(now[:i]) == front]
    return places[0] if places else None
