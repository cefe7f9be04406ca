"""Types and shapes of all values, as far as they follow from the inputs and the weights."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter, Skip, describe
from onnxq.graph.scopes import subgraphs
from onnxq.model_io import skeleton
from onnxq.passes.importing._growth import huge_range
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["InferShapes", "infer_types"]

_INVENTED = re.compile(r"unk__\d+")


@dataclass(frozen=True)
class InferShapes(Pass):
    """Declare the type and shape of every value that onnx can infer, in If/Loop/Scan bodies too.

        x: float32[N,3,8,8], y = Relu(x)   =>   y: float32[N,3,8,8]

    What is declared already stays: only unknown types, shapes and axes are filled in. An axis that onnx can
    merely invent a name for stays unknown. Small integer constants are followed through shape arithmetic
    (Shape, Gather, Concat … into Reshape). Where onnx sees a contradiction the rest is inferred all the same
    and its reason is reported. Functions are left alone: their values have no types of their own.
    """

    name = "infer-shapes"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        gained, reason = infer_types(rw.model)
        rw.edits += gained
        if reason:
            rw.skips.append(Skip("the model", f"onnx cannot infer all shapes: {reason}"))


def infer_types(model: ir.Model) -> tuple[int, str]:
    """Fill in what is missing; returns how many values gained something, and what onnx objects to ('')."""
    proto = skeleton(model)
    if (endless := huge_range(model)) is not None:
        return 0, f"{describe(endless)} has too many elements to follow"
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # InferenceError and, for broken graphs, plain RuntimeError
        return 0, _one_line(error)
    known = _names_of_axes(proto.graph)
    gained = sum(_learn(value, info, known) for value, info in _pairs(model.graph, inferred.graph))
    return gained, _objection(model.graph, proto)


def _pairs(graph: ir.Graph, proto: onnx.GraphProto) -> Iterator[tuple[ir.Value, onnx.TypeProto]]:
    """The values that nodes make, with what onnx inferred; bodies in step with their nodes."""
    infos = {info.name: info.type for info in (*proto.value_info, *proto.output)}
    for node, node_proto in zip(graph, proto.node, strict=True):
        for value in node.outputs:
            if value.name and value.name in infos:
                yield value, infos[value.name]
        if not node_proto.attribute:
            continue
        bodies = {a.name: a.g for a in node_proto.attribute if a.type == onnx.AttributeProto.GRAPH}
        for name, body in subgraphs(node):
            if name in bodies:
                yield from _pairs(body, bodies[name])


def _learn(value: ir.Value, proto: onnx.TypeProto, known: set[str]) -> bool:
    """Fill in what a value lacks; whether there was anything."""
    if not proto.HasField("tensor_type"):
        return False  # onnx-ir has no maps, and nothing here works on sequences
    before = value.type, value.shape
    if value.type is None:
        value.type = ir.serde.deserialize_type_proto_for_type(proto)
    shape = ir.serde.deserialize_type_proto_for_shape(proto)
    if shape is not None:
        value.shape = _merged(value, shape, known)
    return (value.type, value.shape) != before


def _merged(value: ir.Value, inferred: ir.Shape, known: set[str]) -> ir.Shape | None:
    dims = [_dim(dim, known) for dim in inferred]
    have = value.shape
    if have is None:
        return ir.Shape(dims)
    if len(have) != len(dims) or value.is_graph_output():
        return have
    merged = [new if _is_vaguer(old, new) else old for old, new in zip(have, dims, strict=True)]
    return ir.Shape(merged) if any(a is not b for a, b in zip(merged, have, strict=True)) else have


def _dim(dim: int | ir.SymbolicDim, known: set[str]) -> int | ir.SymbolicDim:
    """The axis, or an unknown one where onnx made up its name."""
    if not isinstance(dim, ir.SymbolicDim) or dim.value is None or dim.value in known:
        return dim
    return ir.SymbolicDim(None) if _INVENTED.fullmatch(dim.value) else dim


def _is_vaguer(old: int | ir.SymbolicDim, new: int | ir.SymbolicDim) -> bool:
    if not isinstance(old, ir.SymbolicDim):
        return False
    return not isinstance(new, ir.SymbolicDim) or (old.value is None and new.value is not None)


def _names_of_axes(graph: onnx.GraphProto) -> set[str]:
    infos = (*graph.input, *graph.output, *graph.value_info)
    return {dim.dim_param for info in infos for dim in info.type.tensor_type.shape.dim if dim.dim_param}


def _objection(graph: ir.Graph, proto: onnx.ModelProto) -> str:
    """Why something is still unknown; '' if nothing is, or if nothing stands in the way of knowing it."""
    gaps = [
        n for n in graph for value in n.outputs if value.name and (value.type is None or value.shape is None)
    ]
    if not gaps:
        return ""
    try:
        onnx.shape_inference.infer_shapes(
            proto, strict_mode=True, data_prop=True
        )  # stops at the first complaint
    except Exception as error:  # as above
        return _one_line(error)
    foreign = next((node for node in gaps if node.domain), None)
    return f"it has no rule for {foreign.domain}::{foreign.op_type}" if foreign is not None else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
