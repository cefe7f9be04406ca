"""Equal initializers become one."""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import scopes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["DeduplicateInitializers"]


@dataclass(frozen=True)
class DeduplicateInitializers(Pass):
    """Let the readers of equal initializers of one graph read the first of them.

           Op1(x, a);  Op2(y, b)       a and b equal in type, shape and every byte
        => Op1(x, a);  Op2(y, a)

    Bytes count, not values: 0.0 and −0.0 differ. Initializers that are inputs of their graph (the caller may
    override them) or outputs (their names are public) are left alone, and so are texts.
    """

    name = "deduplicate-initializers"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        for scope in list(scopes(rw.model)):
            if isinstance(scope.graph, ir.Graph):
                _deduplicate(scope.graph, rw)


def _deduplicate(graph: ir.Graph, rw: Rewriter) -> None:
    kept: dict[Hashable, ir.Value] = {}
    for value in list(graph.initializers.values()):
        if (key := _key(value)) is None:
            continue
        first = kept.setdefault(key, value)
        if first is value or _bytes(first) != _bytes(value):
            continue
        rw.interpose(value, first)
        rw.drop(value)


def _key(value: ir.Value) -> Hashable | None:
    """What equal initializers have in common; a hash, so that no second copy of the weights is held."""
    tensor = value.const_value
    if tensor is None or value.is_graph_input() or value.is_graph_output():
        return None
    if tensor.dtype == ir.DataType.STRING:
        return None
    return tensor.dtype, tuple(tensor.shape.numpy()), hashlib.sha256(_bytes(value)).digest()


def _bytes(value: ir.Value) -> bytes:
    return b"" if value.const_value is None else value.const_value.tobytes()
