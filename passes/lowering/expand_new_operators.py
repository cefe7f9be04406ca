"""Write a model for an older opset: newer operators as older ones, then the opset's number."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.errors import UsageError
from onnxq.graph.opset import Objection, exists, objections, opset, relabel
from onnxq.graph.opset_changes import KNOWN_OPSETS, changed_meaning
from onnxq.graph.rewriter import Rewriter, Skip
from onnxq.passes.lowering._expansions import Recipe, compact_recipe
from onnxq.passes.lowering._function_bodies import body_recipe
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["ExpandNewOperators"]


@dataclass(frozen=True)
class ExpandNewOperators(Pass):
    """Write operators that do not exist at an older opset in operators that do, and lower the opset's number.

           Gelu(x)                    => x · (Erf(x / √2) + 1) · ½
           Gelu(x), approximate=tanh  => x · (Tanh(x · (√(2/π) · 0.044715 · x² + √(2/π))) + 1) · ½
           Swish(x)                   => x · Sigmoid(alpha · x)
           RMSNormalization(x, g)     => x / Sqrt(ReduceMean(x²) + epsilon) · g
           LayerNormalization(x, g, b), HardSwish(x) for opsets before 17 and 14
           Mish, GroupNormalization, RotaryEmbedding, Attention and others: as the ONNX standard defines them

    It undoes the fusions to newer operators, for runtimes that load older files only. The opset becomes
    ``opset`` if all other nodes mean the same there, else the lowest number at which they do; every node that
    stands against ``opset`` is a skip. Attributes that spell out their default and do not exist there are
    dropped, such as block_size=0 of QuantizeLinear. A model that is older already stays as it is.

    Source: https://onnx.ai/onnx/operators.
    """

    name = "expand-new-operators"
    contract = Contract.EXACT

    opset: int = 19
    """The opset to reach; 19 (IR version 9) is what most toolchains of edge devices load."""

    def __post_init__(self) -> None:
        if self.opset not in KNOWN_OPSETS:
            known = f"{KNOWN_OPSETS[0]} to {KNOWN_OPSETS[-1]}"
            raise UsageError(f"expand-new-operators: opset must be from {known}, not {self.opset}")

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        now = opset(rw.model)
        if now <= self.opset:
            return
        if now not in KNOWN_OPSETS:
            rw.skips.append(
                Skip("the model", f"opset {now} is newer than {KNOWN_OPSETS[-1]}, the last known")
            )
            return
        level = _lowest(rw.model, self.opset, now)
        for objection in list(objections(rw.model, self.opset)):
            recipe = _recipe(objection, now, self.opset, level)
            if isinstance(recipe, str):
                rw.skip(objection.node, recipe)
            else:
                rw.replace(objection.node, *recipe(rw))
        if level < now:
            relabel(rw.model, level)
            rw.adopt(rw.model)


def _lowest(model: ir.Model, wanted: int, now: int) -> int:
    """The lowest opset from ``wanted`` on that every node can be written for."""
    for level in range(wanted, now):
        found = objections(model, level)
        if not any(isinstance(_recipe(objection, now, level, level), str) for objection in found):
            return level
    return now


def _recipe(objection: Objection, now: int, wanted: int, level: int) -> Recipe | str:
    """How to write a node that does not exist, or means something else, at ``wanted``; else the objection."""
    node = objection.node
    if exists(node.op_type, wanted) and changed_meaning(node, now, wanted) is None:
        return objection.reason
    recipe = compact_recipe(node, level) or body_recipe(node, now, level)
    return f"{objection.reason}; {recipe}" if isinstance(recipe, str) else recipe
