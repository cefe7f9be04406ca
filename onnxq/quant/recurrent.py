"""Values inside a recurrent cell that was written out: marks on their nodes that last until Q/DQ is placed.

What a cell adds up over time loses with every rounding, and 8 bits round a forget gate of 0.999 to 1. A
target with ``recurrent_bits = 16`` computes the marked values on 16 bits, as TFLite's 8x8_16 LSTM does; an
LSTM's hidden state stays at 8. The same value of different steps has one scale: one cell, with one
set of tables and multipliers, serves all of them.
"""

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from onnxq.quant.formats import IntFormat
from onnxq.targets.target import Target

__all__ = ["cell_format", "is_in_cell", "mark_cell", "mark_step", "same_in_all_steps"]

_KEY = "onnxq.recurrent"
_STEP = "onnxq.recurrent.step"


def mark_cell(node: ir.Node) -> None:
    """Say of a node that what it makes is part of a recurrent cell."""
    node.metadata_props[_KEY] = "cell"


def mark_step(node: ir.Node, place: str) -> None:
    """Say which place of its cell a node has: the same in every step, another in every cell."""
    node.metadata_props[_STEP] = place


def same_in_all_steps(nodes: Iterable[ir.Node]) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Pairs of values that are the same one of different steps."""
    first: dict[str, ir.Node] = {}
    for node in nodes:
        if (place := node.metadata_props.get(_STEP)) is None:
            continue
        before = first.setdefault(place, node)
        if before is not node:
            yield from zip(before.outputs, node.outputs, strict=True)


def is_in_cell(node: ir.Node) -> bool:
    """Whether a node has been marked."""
    return _KEY in node.metadata_props


def cell_format(target: Target) -> IntFormat | None:
    """What the values of cells have, where that is wider than other activations."""
    return target.wide if target.recurrent_bits > target.activation.bits else None
