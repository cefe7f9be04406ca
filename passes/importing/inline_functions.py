"""Model-local functions dissolve into their calls."""

from dataclasses import dataclass
from graphlib import CycleError

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnxq.errors import ModelError
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import scopes
from onnxq.passes.importing._growth import MOST_NODES, nodes_when_inlined
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["InlineFunctions"]


@dataclass(frozen=True)
class InlineFunctions(Pass):
    """Replace every call of a model-local function by the function's nodes, and remove the functions.

        Twice(a) = Add(a, a);  y = Twice(x)   =>   y = Add(x, x)

    Calls within functions and in If/Loop/Scan bodies too. Names of nodes and values stay or get a number, so
    that each is unique in the whole model. Functions that nobody calls are removed.

    Raises ModelError where functions call each other in a circle, or one was written for another opset than
    the model (raise-opset brings both to the same).
    """

    name = "inline-functions"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        model = rw.model
        if not model.functions:
            return
        _check_growth(model)
        try:
            InlinePass()(model)
        except (ValueError, ir.passes.PassError, ir.passes.PreconditionError) as error:
            raise ModelError(
                f"the functions cannot be inlined: {_root_cause(error)}; "
                f"if it is about opsets, run raise-opset before"
            ) from error
        model.functions.clear()
        rw.adopt(model)
        _make_names_unique(rw)


def _check_growth(model: ir.Model) -> None:
    """Refuse functions that call functions twice, and so on: their nodes double at every level."""
    try:
        count = nodes_when_inlined(model)
    except CycleError as error:
        circle = " -> ".join("::".join(part for part in key if part) for key in error.args[1])
        raise ModelError(f"the functions cannot be inlined: a cycle of calls, {circle}") from error
    if count > MOST_NODES:
        raise ModelError(f"the functions cannot be inlined: {count} nodes would come out, over {MOST_NODES}")


def _make_names_unique(rw: Rewriter) -> None:
    """Number the names that bodies of If/Loop/Scan share with the graph around them or with each other."""
    seen: set[str] = set()
    nodes: set[str] = set()
    for scope in scopes(rw.model):
        for value in _values(scope.graph):
            if value.name and value.name in seen:
                value.name = rw.unique(value.name)
            seen.add(value.name or "")
        for node in scope.graph:
            if node.name and node.name in nodes:
                node.name = rw.unique(node.name)
            nodes.add(node.name or "")


def _values(graph: ir.Graph | ir.Function) -> list[ir.Value]:
    constants = list(graph.initializers.values()) if isinstance(graph, ir.Graph) else []
    made = [value for node in graph for value in node.outputs]
    return list(dict.fromkeys([*graph.inputs, *constants, *made]))


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())
