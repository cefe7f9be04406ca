"""Pad in front of a Conv."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_op, producer, rank, scalar
from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.fusion._affine import has_references
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["FusePadIntoConv"]


@dataclass(frozen=True)
class FusePadIntoConv(NodePass):
    """Let a Conv do the zero padding of the Pad before it.

           y = Conv(Pad(x, p), W, b) {pads = q}
        => y = Conv(x, W, b) {pads = p + q}

    Applies to a Pad with constant, non-negative amounts on spatial axes and the value 0, whose readers are
    all Convs over it; each of them takes the padding over. ``auto_pad`` must be NOTSET or VALID: SAME_*
    depends on the padded size.
    """

    name = "fuse-pad-into-conv"
    contract = Contract.EXACT
    root = "Conv"

    def rewrite(self, conv: ir.Node, rw: Rewriter, /) -> None:
        pad, axes = producer(conv, 0, "Pad"), rank(get_input(conv, 1))
        if pad is None or axes is None:
            return None
        if (reason := _refusal(pad, conv)) is not None:
            return rw.skip(conv, reason)
        amounts = _amounts(pad, axes)
        if amounts is None or (amounts < 0).any() or amounts[:, :2].any():
            return rw.skip(conv, "the Pad before it has amounts that are unknown, negative or not spatial")
        own = conv.attributes.get_ints("pads", None) or [0] * (2 * (axes - 2))
        pads = (amounts[:, 2:].reshape(-1) + own).tolist()
        attributes = {**conv.attributes, "pads": pads, "auto_pad": None}
        rw.replace([pad, conv], rw.op("Conv", [pad.inputs[0], *conv.inputs[1:]], attributes))
        return None


def _refusal(pad: ir.Node, conv: ir.Node) -> str | None:
    """Why the Conv cannot do the work of the Pad, whatever the amounts."""
    if has_references(pad) or has_references(conv):
        return "its attributes or those of the Pad before it are parameters of a function"
    if pad.attributes.get_string("mode", "constant") != "constant":
        return "the Pad before it does not pad with a constant"
    value = get_input(pad, 2)
    if value is not None and scalar(value) != 0:
        return "the Pad before it does not pad with zeros"
    if conv.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return "its auto_pad depends on the padded size"
    padded, readers = pad.outputs[0], consumers(pad.outputs[0])
    if padded.is_graph_output() or any(not is_op(r, "Conv") or r.graph is not pad.graph for r in readers):
        return "something other than a Conv reads the Pad before it"
    return None


def _amounts(pad: ir.Node, axes: int) -> IntArray | None:
    """[begin or end, axis], or None if that is not constant."""
    given = get_input(pad, 3)
    pads = constant(get_input(pad, 1))
    along = np.arange(axes) if given is None else constant(given)
    if pads is None or along is None:
        return None
    amounts = np.zeros((2, axes), np.int64)
    amounts[:, along] = pads.reshape(2, -1)
    return amounts
