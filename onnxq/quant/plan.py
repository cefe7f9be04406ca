"""The decisions of a quantization as data: placement makes them, ``onnxq plan`` prints, insert-qdq applies.

Values and nodes are named by value names, which are unique in a model: a node is known by its first
output. So a plan can be printed, compared, stored and applied without holding the graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from onnxq.quant.formats import IntFormat

__all__ = ["NodeDecision", "Plan", "Role", "ValueDecision"]


class Role(StrEnum):
    """What a value is to the nodes that read it."""

    ACTIVATION = "activation"
    """Computed at run time: its range is measured."""
    CONSTANT = "constant"
    """A constant operand: quantized like an activation, its range is known."""
    WEIGHT = "weight"
    """The constant factor of a linear operator."""
    BIAS = "bias"
    """Added to a linear operator's sums: int32 at scale s_x · s_w, made when fake-quant is folded."""


@dataclass(frozen=True)
class ValueDecision:
    """One value gets a Q/DQ pair.

    ``group`` names the scale group: values of one group share scale and zero point. ``readers`` are the
    nodes that shall read the dequantized value; None means all, an output of the model included. The range
    of one that ``follows`` is that of its group, where another member holds all of its elements that matter.
    """

    value: str
    role: Role
    format: IntFormat
    group: str
    symmetric: bool = False
    power_of_two: bool = False
    axis: int | None = None
    fixed: tuple[float, float] | None = None
    readers: tuple[str, ...] | None = None
    follows: bool = False
    why: str = ""
    """Why its format is another than the target's usual one, where nobody asked for that."""

    @property
    def granularity(self) -> str:
        """``per-tensor`` or ``per-channel, axis 0``."""
        return "per-tensor" if self.axis is None else f"per-channel, axis {self.axis}"


@dataclass(frozen=True)
class NodeDecision:
    """One node runs on integers, or stays float, and why. ``node`` is the name of its first output."""

    node: str
    op: str
    scope: str
    quantized: bool
    reason: str
    floats: bool = True
    """Whether it computes on floats at all: Q/DQ and work on shapes and indices do not."""


@dataclass(frozen=True)
class Plan:
    """All decisions for one model and target, in graph order."""

    target: str
    nodes: tuple[NodeDecision, ...]
    values: tuple[ValueDecision, ...]

    @property
    def groups(self) -> Mapping[str, tuple[ValueDecision, ...]]:
        """The members of every scale group."""
        found: dict[str, list[ValueDecision]] = {}
        for decision in self.values:
            found.setdefault(decision.group, []).append(decision)
        return {name: tuple(members) for name, members in found.items()}

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the values whose range has to be measured."""
        own = (d for d in self.values if d.role is Role.ACTIVATION and not d.follows)
        return tuple(d.value for d in own if d.fixed is None)

    @property
    def quantized_nodes(self) -> int:
        return sum(node.quantized for node in self.nodes)
