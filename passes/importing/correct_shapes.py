"""Shapes that the file declares wrongly."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.rewriter import Rewriter, describe
from onnxq.model_io import skeleton
from onnxq.passes.importing._growth import huge_range
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["CorrectShapes", "WrongShapeWarning"]

_NAMED = 3


class WrongShapeWarning(UserWarning):
    """The file declares another shape of a value than its node makes."""


@dataclass(frozen=True)
class CorrectShapes(Pass):
    """Put right what the file declares wrongly of what its nodes make.

        x: float32[N,3,8,8], y = Relu(x), y: float32[N,3,9,9]   =>   y: float32[N,3,8,8]

    All passes believe declared shapes, and a model with a wrong one is no valid ONNX. Here the nodes are
    believed, as ONNX Runtime does, with a warning that names the node and both shapes. Another number of
    axes contradicts, and another length; an unknown or symbolic length contradicts nothing and stays. Outputs
    of the model are corrected like all values of the main graph; bodies of If, Loop and Scan are left alone.

    Raises ModelError where the declared type is another: no runtime takes such a model.
    """

    name = "correct-shapes"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        complaints = []
        for node, value, made in list(_contradictions(rw.model)):
            complaints.append(f"{describe(node)} makes {_listed(made)}, declared is {_listed(value.shape)}")
            assert value.dtype is not None, "types that are not known contradict nothing"
            rw.set_type(value, value.dtype, _merged(value.shape, made))
        if complaints:
            more = f"; and {len(complaints) - _NAMED} more" if len(complaints) > _NAMED else ""
            warnings.warn(
                f"the model declares wrong shapes, and goes on with those that its nodes make: "
                f"{'; '.join(complaints[:_NAMED])}{more}",
                WrongShapeWarning,
                stacklevel=2,
            )


def _contradictions(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Value, ir.Shape]]:
    """Values of the main graph whose declared shape cannot be, with the one that onnx infers."""
    types = _inferred(model)
    for node in model.graph:
        for value in node.outputs:
            proto = types.get(value.name or "")
            if proto is None or not proto.HasField("tensor_type") or value.dtype is None:
                continue
            found = ir.serde.deserialize_type_proto_for_type(proto)
            if found is not None and found.dtype is not value.dtype:
                raise ModelError(
                    f"{describe(node)} makes {found.dtype.name.lower()}, but the model declares "
                    f"'{value.name}' as {value.dtype.name.lower()}: no runtime takes that; correct the file"
                )
            made = ir.serde.deserialize_type_proto_for_shape(proto)
            if made is not None and value.shape is not None and _differ(value.shape, made):
                yield node, value, made


def _inferred(model: ir.Model) -> dict[str, onnx.TypeProto]:
    """The types that follow from the inputs and the nodes alone; none where onnx cannot follow."""
    if huge_range(model) is not None:
        return {}
    proto = skeleton(model)
    del proto.graph.value_info[:], proto.graph.output[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:  # InferenceError and plain RuntimeError: infer-shapes and the checker say what is wrong
        return {}
    return {info.name: info.type for info in inferred.graph.value_info}


def _differ(declared: ir.Shape, made: ir.Shape) -> bool:
    lengths = zip(declared, made, strict=False)
    return len(declared) != len(made) or any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in lengths
    )


def _merged(declared: ir.Shape | None, made: ir.Shape) -> ir.Shape:
    """What is made; where onnx does not know the length, what is declared."""
    if declared is None or len(declared) != len(made):
        return ir.Shape([axis if isinstance(axis, int) else None for axis in made])  # made-up names
    return ir.Shape([b if isinstance(b, int) else a for a, b in zip(declared, made, strict=True)])


def _listed(shape: ir.Shape | None) -> str:
    axes = () if shape is None else shape
    return f"[{','.join(str(axis) if isinstance(axis, int) else str(axis.value or '?') for axis in axes)}]"
