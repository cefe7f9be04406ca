"""Which operands of a Concat share the scale of its result.

A Concat that computes on integers may give each operand a scale of its own, and brings all to that of the
result. Where nobody else reads the operand that is a second rounding for nothing, and a table lookup where
equal scales need a copy.
"""

from collections.abc import Set

import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_op, producer, scalar
from onnxq.quant.eligibility import Kind, kind
from onnxq.targets.target import Target

__all__ = ["joined"]


def joined(concat: ir.Node, quantized: Set[ir.Node], target: Target) -> list[ir.Value]:
    """The result of a Concat, then those operands that quantized nodes make for it alone; nothing if none do.

    The range of the result serves all: that of an operand, with the outliers that a calibration method cuts
    off elsewhere, would widen it.

    Operands keep their scales where they end at different places: a Relu or Clip vanishes only if the codes
    end where it cuts. So do functions of known range, and what a moving operator passes on, whose scale may
    be that of others too.
    """
    values = [value for value in concat.inputs if value is not None]
    if any(constant(value) is not None for value in values):
        return []
    if len({_end(_maker(value, quantized, target)) for value in values}) > 1:
        return []
    own = [value for value in values if _is_made_for_it(value, quantized, target)]
    return [concat.outputs[0], *own] if own else []


def _is_made_for_it(value: ir.Value, quantized: Set[ir.Node], target: Target) -> bool:
    maker = producer(value)
    if maker is None or maker not in quantized or kind(maker, target) is Kind.MOVE:
        return False
    free = not is_op(maker, *target.fixed_range)
    return free and len(consumers(value)) == 1 and not value.is_graph_output()


def _maker(value: ir.Value, quantized: Set[ir.Node], target: Target) -> ir.Node | None:
    """What makes a value, behind quantized operators that only move values."""
    maker = producer(value)
    while maker is not None and maker in quantized and kind(maker, target) is Kind.MOVE:
        maker = producer(maker)
    return maker


def _end(maker: ir.Node | None) -> tuple[float | None, ...]:
    """Where a Relu or Clip cuts."""
    if maker is not None and is_op(maker, "Clip"):
        return scalar(get_input(maker, 1)), scalar(get_input(maker, 2))
    return (0.0, None) if is_op(maker, "Relu") else ()
