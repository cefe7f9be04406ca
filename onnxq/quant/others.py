"""What the operators that do not multiply by a weight compute on: floats, or integers of more bits.

Products of 8 bits cost the time of a model, and sums, normalizations and activations between them its
accuracy: SmoothQuant (https://arxiv.org/abs/2211.10438) leaves these on floats. ``linear_only`` is a target
that does so; ``widened`` finds the values that no product reads and asks for a wider format for them.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import onnx_ir as ir

from onnxq.graph.match import consumers, is_op
from onnxq.graph.scopes import named_values
from onnxq.quant.operators import LINEAR, operands
from onnxq.quant.plan import Plan, Role
from onnxq.quant.recipe import Recipe, Rule, Wish
from onnxq.targets.target import Target

__all__ = ["linear_only", "widened"]

_PRODUCTS = frozenset({"MatMul", "Gemm"})


def linear_only(target: Target) -> Target:
    """The target with its products alone on integers; MatMul and Gemm hand float sums to float readers."""
    return replace(
        target,
        name=f"{target.name} (products only)",
        compute=target.compute & LINEAR,
        neighbours=frozenset(),
        float_output=target.float_output | _PRODUCTS,
    )


def widened(plan: Plan, model: ir.Model, dtype: str) -> Recipe:
    """Rules that give ``dtype`` to each scale group none of whose values a linear operator reads."""
    values = named_values(model)
    return Recipe(tuple(_rules(plan, values, dtype)))


def _rules(plan: Plan, values: dict[str, ir.Value], dtype: str) -> Iterator[Rule]:
    quantized = {node.node for node in plan.nodes if node.quantized}
    for members in plan.groups.values():
        names = [d.value for d in members if d.role is Role.ACTIVATION]
        fixed = any(d.fixed is not None for d in members)
        if not fixed and not any(_multiplied(values[name], quantized) for name in names):
            yield from (Rule(Wish(dtype=dtype), value=re.escape(name), where="others") for name in names)


def _multiplied(value: ir.Value, quantized: set[str]) -> bool:
    return any(
        is_op(node, *LINEAR)
        and (node.outputs[0].name or "") in quantized
        and any(node.inputs[i] is value for i in operands(node).data)
        for node in consumers(value)
    )
