"""What a runtime makes of a Q/DQ model, ours or another tool's: per node integer or float, and why.

    found = explain(model, load_target("ort-x86-vnni"))
    found.integer_share, found.mac_share
    [(n.node, n.pattern, n.fix) for n in found.nodes if not n.integer]

For targets whose engine is ONNX Runtime's CPU provider its fusions are predicted
(:mod:`onnxq.evaluate.fusion.onnxruntime_cpu`); for others the target file is all that is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.evaluate.fusion import by_rules, onnxruntime_cpu
from onnxq.evaluate.fusion.verdict import Verdict
from onnxq.evaluate.fusion.view import tidied
from onnxq.evaluate.hazards import Hazard, hazards
from onnxq.evaluate.macs import macs
from onnxq.graph.match import is_float, is_op
from onnxq.graph.scopes import scopes
from onnxq.targets.target import Target

__all__ = ["Explanation", "NodeReport", "explain"]


@dataclass(frozen=True)
class NodeReport:
    """One node: on integers with the pattern it is part of, or float with the reason and what would help."""

    node: str
    op: str
    scope: str
    integer: bool
    pattern: str
    fix: str
    macs: int


@dataclass(frozen=True)
class Explanation:
    """All nodes that compute on numbers, in graph order, and warnings."""

    target: str
    nodes: Sequence[NodeReport]
    hazards: Sequence[Hazard]

    @property
    def integer_share(self) -> float:
        """Share of the nodes that run on integers; 0 where there are none."""
        return sum(node.integer for node in self.nodes) / len(self.nodes) if self.nodes else 0.0

    @property
    def mac_share(self) -> float:
        """Share of the multiply-accumulates that run on integers; 0 where nothing multiplies."""
        total = sum(node.macs for node in self.nodes)
        return sum(node.macs for node in self.nodes if node.integer) / total if total else 0.0


def explain(model: ir.Model, target: Target) -> Explanation:
    """Explain a model for a target. Shapes that the file lacks are inferred on a copy.

    Left out are nodes that touch no float value before quantization (shape arithmetic), Q, DQ, and what does
    nothing.
    """
    model = tidied(model)
    verdicts = _verdicts(model, target)
    paths = {node: scope.path for scope in scopes(model) for node in scope.graph}
    shown = {node: verdict for node, verdict in verdicts.items() if _computes(node)}
    reports = tuple(
        NodeReport(_name(n), _op(n), paths[n], v.integer, v.pattern, v.fix, macs(n)) for n, v in shown.items()
    )
    return Explanation(target.name, reports, tuple(hazards(verdicts, target)))


def _verdicts(model: ir.Model, target: Target) -> dict[ir.Node, Verdict]:
    if target.engine == "onnxruntime-cpu":
        return onnxruntime_cpu.predict(model, int8_allowed="int8*int8" not in target.slow)
    return by_rules.predict(model, target)


def _computes(node: ir.Node) -> bool:
    if is_op(node, "QuantizeLinear", "DequantizeLinear", "Identity", "Dropout"):
        return False
    return any(
        is_float(value) or (value is not None and value.dtype is None)
        for value in (*node.inputs, *node.outputs)
    )


def _name(node: ir.Node) -> str:
    return node.name or next((output.name for output in node.outputs if output.name), "") or node.op_type


def _op(node: ir.Node) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
