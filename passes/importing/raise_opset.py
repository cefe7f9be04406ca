"""A newer opset, with the same meaning."""

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from onnxq.errors import UsageError
from onnxq.graph.opset import schema_of
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing._opset_adapters import ADAPTERS, NEWEST
from onnxq.passes.importing._opset_edits import refuse
from onnxq.passes.importing.infer_shapes import infer_types
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["RaiseOpset"]

_LOWEST_TARGET = 13
_TYPED_FROM = 6  # onnx infers no types for most operators of opset 1


@dataclass(frozen=True)
class RaiseOpset(Pass):
    """Raise ai.onnx to a newer opset; a model at that opset or beyond stays there.

        opset 11:  y = Unsqueeze<axes>(x)
        opset 19:  y = Unsqueeze(x, axes)

    Bodies of If/Loop/Scan are raised too, and functions to the opset of the model. Weights are not copied.
    Every operator that changed its meaning in between is rewritten here (see ``_opset_adapters``):
    onnx.version_converter takes Resize of opset 10 for the half-pixel kind and Hardmax for unchanged, and it
    drops functions. The model may be of any opset from 1 on; ``opset`` may be 13 (the first with per-axis
    Q/DQ) to 25. Operators of other domains stay as they are.

    Raises ModelError, and names the node, where an old operator has no equivalent.
    """

    opset: int = 19

    name = "raise-opset"
    contract = Contract.EXACT

    def __post_init__(self) -> None:
        if not _LOWEST_TARGET <= self.opset <= NEWEST:
            raise UsageError(
                f"raise-opset: opset must be {_LOWEST_TARGET} to {NEWEST}, but {self.opset} was given"
            )

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        model = rw.model
        homes: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
        target = max(self.opset, min(_version(model.graph), NEWEST))
        old = [home for home in homes if _version(home) < target]
        if not old:
            return
        early = any(_version(home) < _TYPED_FROM for home in old)
        for stage in (_TYPED_FROM, target) if early else (target,):
            infer_types(model)
            for home in old:
                _raise(home, stage, rw)
        newest = onnx.helper.make_opsetid("", target)
        model.ir_version = max(model.ir_version, onnx.helper.find_min_ir_version_for([newest]))


def _raise(home: ir.Graph | ir.Function, target: int, rw: Rewriter) -> None:
    first = _version(home)
    if first >= target:
        return
    for version in range(first + 1, target + 1):
        adapters = ADAPTERS.get(version, {})
        for node in _nodes(home):
            if (adapter := adapters.get(node.op_type)) is not None:
                _check_plain(node)
                adapter(node, rw)
    for node in _nodes(home):
        _check(node, target)
    home.opset_imports.pop("ai.onnx", None)
    home.opset_imports[""] = target
    rw.edits += 1


def _version(home: ir.Graph | ir.Function) -> int:
    return home.opset_imports.get("", home.opset_imports.get("ai.onnx", NEWEST))


def _nodes(home: ir.Graph | ir.Function) -> list[ir.Node]:
    """The ai.onnx nodes of a graph or function and its bodies."""
    return [node for node in home.all_nodes() if node.domain in ("", "ai.onnx")]


def _check_plain(node: ir.Node) -> None:
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        raise refuse(node, "its attributes are parameters of a function (run inline-functions before)")


def _check(node: ir.Node, opset: int) -> None:
    """Whether the newer opset has the operator in the form the node has now."""
    schema = schema_of(node.op_type, opset)
    if schema is None or schema.deprecated:
        raise refuse(node, f"opset {opset} has no {node.op_type}")
    if missing := [
        name for name, a in schema.attributes.items() if a.required and name not in node.attributes
    ]:
        raise refuse(node, f"{node.op_type} of opset {opset} needs the attribute '{missing[0]}'")
    if unknown := [name for name in node.attributes if name not in schema.attributes]:
        raise refuse(node, f"{node.op_type} of opset {opset} has no attribute '{unknown[0]}'")
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        raise refuse(node, f"{node.op_type} of opset {opset} does not take {len(node.inputs)} inputs")
