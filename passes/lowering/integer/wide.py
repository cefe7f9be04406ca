"""Which prepared nodes compute in words wider than 32 bits."""

import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.passes.lowering.integer.operand import Refused

__all__ = ["require_32_bits"]

WIDE = frozenset({ir.DataType.INT64, ir.DataType.UINT64, ir.DataType.UINT32, ir.DataType.UINT16})


def require_32_bits(value: ir.Value) -> None:
    """Accept a prepared value whose nodes compute on int32 and 8-bit numbers; shapes may be int64.

    Raises:
        Refused: one computes wider numbers.
    """
    _depends_on_data(value, {})


def _depends_on_data(value: ir.Value | None, known: dict[ir.Value, bool]) -> bool:
    """Whether a prepared value depends on more than shapes and constants."""
    if value is None or value.const_value is not None:
        return False
    node = value.producer()
    if node is None or node.graph is not None:
        return True
    if value not in known:
        sources = [_depends_on_data(source, known) for source in node.inputs]
        known[value] = any(sources) and not is_op(node, "Shape", "Size")
    if known[value] and value.dtype in WIDE:
        raise Refused(
            f"its integer rule computes in {value.dtype.name.lower()} ({node.op_type}), which dialect=int32 "
            "excludes; use dialect=portable"
        )
    return known[value]
