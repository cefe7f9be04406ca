"""From decisions and ranges to quantization parameters: one scale per group, per channel where decided."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.match import constant
from onnxq.graph.numeric import FloatArray
from onnxq.quant.plan import Plan, Role, ValueDecision
from onnxq.quant.qparams import QParams, qparams_from_range

__all__ = ["Range", "constant_ranges", "resolve"]

Range: TypeAlias = tuple[float, float]
ChannelRange: TypeAlias = tuple[FloatArray, FloatArray]


def constant_ranges(plan: Plan, values: Mapping[str, ir.Value]) -> dict[ValueDecision, ChannelRange]:
    """Smallest and largest element of every constant that is quantized; float32, rank 0 or one a channel.

    Raises:
        ModelError: a constant holds NaN or infinity.
    """
    decided = (d for d in plan.values if d.role in (Role.WEIGHT, Role.CONSTANT))
    return {decision: _bounds(values[decision.value], decision.axis) for decision in decided}


def resolve(
    plan: Plan, constants: Mapping[ValueDecision, ChannelRange], measured: Mapping[str, Range]
) -> Iterator[tuple[ValueDecision, QParams]]:
    """The parameters of every value that gets a pair; a group takes the union of its members' ranges, but for
    those that follow.

    Biases get none here: theirs follow from the scales they are added to, see :mod:`onnxq.quant.bias`.
    """

    def span(decision: ValueDecision) -> ChannelRange | Range:
        if decision in constants:
            return constants[decision]
        return decision.fixed if decision.fixed is not None else measured[decision.value]

    for members in plan.groups.values():
        if members[0].role is Role.BIAS:
            continue
        lows, highs = zip(*(span(member) for member in members if not member.follows), strict=True)
        for decision in members:
            low, high = span(decision) if decision.role is Role.WEIGHT else (min(lows), max(highs))
            yield (
                decision,
                qparams_from_range(
                    low,
                    high,
                    decision.format,
                    symmetric=decision.symmetric,
                    axis=decision.axis,
                    power_of_two=decision.power_of_two,
                    short=len(members) > 1 and decision.role is not Role.WEIGHT,
                ),
            )


def _bounds(value: ir.Value, axis: int | None) -> ChannelRange:
    array = constant(value)
    if array is None or array.size == 0:
        return np.zeros(()), np.zeros(())
    if not np.isfinite(array).all():
        raise ModelError(f"the constant '{value.name}' holds NaN or infinity, which no range can hold")
    others = None if axis is None else tuple(i for i in range(array.ndim) if i != axis)
    return array.min(axis=others), array.max(axis=others)
