"""What a profile has no words for: numbers of more than 32 bits in dialect=int32, codes of 16 bits."""

import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.passes.lowering.integer.operand import CODE_BITS, Refused
from onnxq.passes.lowering.integer.profile import Dialect, Profile
from onnxq.quant.fixed_point import Rounding
from onnxq.quant.qparams import QParams

__all__ = ["require_32_bits", "require_bits"]

WIDE = frozenset({ir.DataType.INT64, ir.DataType.UINT64, ir.DataType.UINT32, ir.DataType.UINT16})


def require_bits(what: str, qparams: QParams, profile: Profile) -> None:
    """Accept codes of 8 bits, and of 16 where the profile has words for them.

    Raises:
        Refused: it has none, or the codes have another width.
    """
    bits = qparams.format.bits
    if bits not in CODE_BITS:
        raise Refused(f"{what} is {qparams.format}; only codes of 8 and 16 bits are lowered")
    if bits == 8:
        return
    if profile.dialect == Dialect.INT32:
        raise Refused(
            f"{what} is {qparams.format}, whose sums need 64 bits, which dialect=int32 excludes; give it 8 "
            "bits, or use dialect=portable"
        )
    if profile.rounding == Rounding.TFLITE:
        raise Refused(
            f"{what} is {qparams.format}, and rounding=tflite follows TFLite's 8-bit kernels; give it 8 "
            "bits, or use rounding=half-even or half-up"
        )


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
