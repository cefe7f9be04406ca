"""What a plan makes of a model, as shares: on integers, on 8 bits, and the size of the weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.evaluate.macs import macs
from onnxq.graph.match import constant, is_float
from onnxq.quant.plan import Plan, Role

__all__ = ["Shares", "shares", "weight_bytes"]

_NARROW = 8


@dataclass(frozen=True)
class Shares:
    """Shares of the nodes that compute on floats, 0 to 1; ``macs`` of the multiply-accumulates.

    ``narrow``: of the nodes, those on integers that read and make nothing wider than 8 bits.
    """

    nodes: float
    macs: float
    narrow: float


def shares(model: ir.Model, plan: Plan) -> Shares:
    """The shares of a plan for a prepared model; 1 where there is nothing to share."""
    counted = {node.node: node.quantized for node in plan.nodes if node.quantized or node.floats}
    wide = {d.value for d in plan.values if d.role is not Role.BIAS and d.format.bits > _NARROW}
    total = work = on_integers = narrow = 0
    nodes = 0
    for node in model.graph:
        name = next((output.name for output in node.outputs if output.name), node.name or "")
        if name not in counted:
            continue
        total, work = total + 1, work + macs(node)
        if not counted[name]:
            continue
        nodes, on_integers = nodes + 1, on_integers + macs(node)
        touched = (value.name for value in (*node.inputs, *node.outputs) if value is not None)
        narrow += wide.isdisjoint(touched)
    return Shares(_share(nodes, total), _share(on_integers, work), _share(narrow, total))


def weight_bytes(model: ir.Model, bits: Mapping[str, int]) -> float:
    """Bytes of all float constants, those in ``bits`` packed at so many bits an element."""
    total = 0.0
    for value in model.graph.initializers.values():
        array = constant(value) if is_float(value) else None
        if array is not None:
            total += array.size * bits.get(value.name or "", 32) / 8
    return total


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
