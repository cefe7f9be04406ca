"""Two Transposes in a row become one, or none."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import producer, rank
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["MergeTransposes"]


@dataclass(frozen=True)
class MergeTransposes(NodePass):
    """Merge a Transpose with the Transpose before it.

           y = Transpose<perm = p>(Transpose<perm = q>(x))
        => y = Transpose<perm = [q[i] for i in p]>(x)       or x, where that is the identity

    The first Transpose stays where something else reads it; the second no longer waits for it. Longer chains
    shrink to one from the front.
    """

    name = "merge-transposes"
    contract = Contract.EXACT
    root = "Transpose"

    def rewrite(self, second: ir.Node, rw: Rewriter, /) -> None:
        first = producer(second, 0, "Transpose")
        if first is None or (x := first.inputs[0]) is None:
            return None
        known = (rank(x), rank(first.outputs[0]), rank(second.outputs[0]))
        axes = next((axes for axes in known if axes is not None), None)
        inner, outer = _permutation(first, axes), _permutation(second, axes)
        if inner is None or outer is None:
            return rw.skip(second, "the permutation is not known")
        merged = [inner[i] for i in outer]
        if merged != list(range(len(merged))):
            rw.replace([first, second], rw.op("Transpose", [x], {"perm": merged}, like=second.outputs[0]))
        elif rw.bypass(second, x):
            rw.remove(first)
        return None


def _permutation(transpose: ir.Node, axes: int | None) -> Sequence[int] | None:
    """``perm``, None if a function's caller decides on it; without it the axes are reversed."""
    if "perm" in transpose.attributes:
        return transpose.attributes.get_ints("perm")
    return range(axes)[::-1] if axes is not None else None
