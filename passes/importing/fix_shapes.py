"""Give axes that are open a fixed length."""

from dataclasses import dataclass
from typing import TypeGuard

import onnx
import onnx_ir as ir

from onnxq.errors import DataError, UsageError
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import named_values
from onnxq.model_io import skeleton
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["FixShapes"]


@dataclass(frozen=True)
class FixShapes(Pass):
    """Give open axes of the inputs a fixed length, for targets that take static shapes only.

           x: float32[N,3,H,W]   fix-shapes{axes='N=1'|'H=224'|'W=224'}   =>   x: float32[1,3,224,224]

    An axis with a name is fixed wherever the name stands in the model; ``'x[0]=1'`` fixes axis 0 of the input
    x whether it has a name or not. Without ``axes`` the inputs take the shapes of the first calibration
    sample. Those of the outputs follow; the shapes between do with simplify or infer-shapes: where all inputs
    are fixed, other named axes are forgotten so that they can be inferred. The values stay the same for
    inputs of these shapes; others are refused from then on.
    """

    name = "fix-shapes"
    contract = Contract.EXACT

    axes: tuple[str, ...] = ()

    def check(self, context: Context, /) -> None:
        _asked(self.axes)

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        inputs = [v for v in rw.model.graph.inputs if v.name not in rw.model.graph.initializers]
        lengths = _asked(self.axes) if self.axes else _sampled(inputs, context)
        named: dict[str, int] = {}
        known: set[str] = set()
        for value in inputs:
            for i, axis in enumerate(value.shape or ()):
                keys = [f"{value.name}[{i}]", *([str(axis.value)] if _has_name(axis) else [])]
                known.update(keys)
                length = next((lengths[key] for key in keys if key in lengths), None)
                if length is not None and _has_name(axis):
                    _agree(named, str(axis.value), length)
                elif length is not None and not isinstance(axis, int):
                    _set(rw, value, i, length)
        if self.axes and (unknown := sorted(set(lengths) - known)):
            raise UsageError(
                f"fix-shapes: no input has an axis '{unknown[0]}'; axes: {', '.join(sorted(known)) or 'none'}"
            )
        fixed = all(isinstance(axis, int) or axis.value in named for v in inputs for axis in v.shape or ())
        for value in named_values(rw.model).values():
            for i, axis in enumerate(value.shape or ()):
                if isinstance(axis, ir.SymbolicDim) and axis.value in named:
                    _set(rw, value, i, named[axis.value])
                elif _has_name(axis) and fixed:
                    _set(rw, value, i, None)
        _infer_outputs(rw)


def _infer_outputs(rw: Rewriter) -> None:
    """What the model declares of its outputs is taken as given by all other passes, so it is set here."""
    inferred = onnx.shape_inference.infer_shapes(skeleton(rw.model), data_prop=True)
    for value, info in zip(rw.model.graph.outputs, inferred.graph.output, strict=True):
        shape = ir.serde.deserialize_type_proto_for_shape(info.type)
        for i, axis in enumerate(shape or ()):
            if value.shape is not None and len(value.shape) == len(shape or ()) and value.shape[i] != axis:
                _set(rw, value, i, axis if isinstance(axis, int) else None)


def _has_name(axis: int | ir.SymbolicDim) -> TypeGuard[ir.SymbolicDim]:
    return isinstance(axis, ir.SymbolicDim) and bool(axis.value)


def _asked(axes: tuple[str, ...]) -> dict[str, int]:
    lengths = {}
    for text in axes:
        name, _, number = text.rpartition("=")
        if not name or not number.isdecimal() or not 0 < int(number) < 2**31:
            raise UsageError(f"fix-shapes: axes are written name=length, such as 'N=1', not '{text}'")
        lengths[name] = int(number)
    return lengths


def _sampled(inputs: list[ir.Value], context: Context) -> dict[str, int]:
    if context.samples is None or not len(context.samples):
        raise DataError(
            "fix-shapes takes the lengths from the first calibration sample, but there is none: pass --data, "
            "or give them: fix-shapes{axes='N=1'}"
        )
    sample = next(iter(context.samples))
    return {f"{v.name}[{i}]": n for v in inputs for i, n in enumerate(sample.feeds[v.name or ""].shape)}


def _agree(named: dict[str, int], name: str, length: int) -> None:
    if named.setdefault(name, length) != length:
        raise UsageError(f"fix-shapes: the axis '{name}' would be {named[name]} and {length}")


def _set(rw: Rewriter, value: ir.Value, axis: int, length: int | None) -> None:
    dims: list[int | ir.SymbolicDim | None] = list(value.shape or ())
    dims[axis] = length
    assert value.dtype is not None, "values with a shape are tensors of a known type"
    rw.set_type(value, value.dtype, ir.Shape(dims))
