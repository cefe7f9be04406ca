"""Conditions of ONNX Runtime's fusions on the codes around one node; a breach says what would mend it."""

import numpy as np
import onnx_ir as ir

from onnxq.evaluate.fusion.verdict import Left
from onnxq.evaluate.fusion.view import Codes
from onnxq.graph.match import get_input, is_op, scalar

__all__ = [
    "bias_scale_fits",
    "is_redundant",
    "left_signed",
    "no_sixteen",
    "same_dtype",
    "same_meaning",
]

_SIXTEEN = ("int16", "uint16")
_EXACT = 1e-6
"""How far a bias scale may lie from s_x·s_w, relatively: float32 products differ by less."""


def no_sixteen(*codes: Codes) -> None:
    """Refuse codes of 16 bits."""
    if any(c.dtype in _SIXTEEN for c in codes):
        raise Left("ONNX Runtime has no 16-bit kernel for it", "use 8 bits here")


def same_dtype(x: Codes, y: Codes | None, int8_allowed: bool) -> None:
    """Refuse codes of two dtypes; ``y`` is None where the result leaves as float."""
    if y is None or x.dtype == y.dtype:
        return
    if not int8_allowed and {x.dtype, y.dtype} == {"int8", "uint8"}:
        raise left_signed(x if x.dtype == "int8" else y)
    raise Left(f"it reads {x.dtype} and writes {y.dtype}", "use one dtype on both sides")


def left_signed(x: Codes) -> Left:
    """Codes that stay int8 where others become uint8."""
    return Left(
        f"ONNX Runtime on x86 leaves '{x.pair.name}' int8, as several nodes read it; others become uint8",
        "quantize activations to uint8",
    )


def same_meaning(x: Codes, y: Codes | None, int8_allowed: bool) -> None:
    """Refuse codes that differ in scale or zero point."""
    if y is None:
        return
    same_dtype(x, y, int8_allowed)
    if not x.same_as(y):
        raise Left("scale or zero point differ between its input and output", "give both one scale")


def is_redundant(clamp: ir.Node, codes: Codes) -> bool:
    """Whether codes end where a Relu or Clip cuts."""
    if (
        codes.qparams is None
        or codes.qparams.axis is not None
        or codes.dtype not in ("int8", "uint8", *_SIXTEEN)
    ):
        return False
    q = codes.qparams
    zero_point, scale = int(q.zero_point), float(q.scale)
    if is_op(clamp, "Relu"):
        return zero_point == q.format.qmin
    bounds = [scalar(v) if (v := get_input(clamp, i)) is not None else None for i in (1, 2)]
    if any(get_input(clamp, i) is not None and bounds[i - 1] is None for i in (1, 2)):
        return False
    low, high = (-np.inf if bounds[0] is None else bounds[0]), (np.inf if bounds[1] is None else bounds[1])
    return bool(
        np.rint(low / scale) + zero_point <= q.format.qmin
        and np.rint(high / scale) + zero_point >= q.format.qmax
    )


def bias_scale_fits(bias: Codes, x: Codes, w: Codes) -> bool:
    """Whether a bias has the scale s_x·s_w."""
    if bias.qparams is None or x.qparams is None or w.qparams is None:
        return w.qparams is None
    wanted = x.qparams.scale.astype(np.float64) * w.qparams.scale.astype(np.float64)
    found = bias.qparams.scale.astype(np.float64)
    return bool(np.all(np.abs(found - wanted) <= _EXACT * wanted))
