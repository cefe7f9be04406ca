"""What the adapters of all opsets share."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.rewriter import Rewriter, describe

__all__ = ["Adapter", "drop", "refuse", "to_input"]

Adapter = Callable[[ir.Node, Rewriter], None]


def refuse(node: ir.Node, reason: str) -> ModelError:
    """The error for a node that has no equivalent in a newer opset."""
    return ModelError(
        f"cannot raise the opset of {describe(node)}: {reason}; re-export it at opset 13 or later"
    )


def drop(node: ir.Node, rw: Rewriter, *names: str) -> None:
    """Remove the attributes of these names that the node has."""
    for name in names:
        if name in node.attributes:
            rw.set_attribute(node, name, None)


def to_input(node: ir.Node, rw: Rewriter, index: int, name: str) -> None:
    """Op<name>(x) => Op(x, …, name), for a list of integers; an absent one stays absent."""
    numbers = node.attributes.get_ints(name)
    if numbers is not None:
        stem = node.outputs[0].name or node.op_type
        rw.set_input(node, index, rw.const(np.array(numbers, np.int64), f"{stem}_{name}"))
    drop(node, rw, name)
