"""The roundings of QONNX, on arrays and as operators of the standard."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.fake_quant.parameters import Refused

__all__ = ["ROUND", "number_like", "rounded", "rounding_mode"]

ROUND: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "DOWN": np.trunc,
    "UP": lambda v: np.sign(v) * np.ceil(np.abs(v)),
    "HALF_UP": lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5),
    "HALF_DOWN": lambda v: np.sign(v) * np.ceil(np.abs(v) - 0.5),
}
"""QONNX's names of roundings, and what they do to an array."""


def rounding_mode(node: ir.Node, default: str) -> str:
    """The mode that a node states.

    Raises:
        Refused: QONNX does not have it.
    """
    mode = node.attributes.get_string("rounding_mode", default).upper()
    if mode not in ROUND:
        raise Refused(f"its rounding mode '{mode}' is none of {', '.join(ROUND)}")
    return mode


def rounded(mode: str, value: ir.Value, like: ir.Value, rw: Rewriter) -> ir.Value:
    """``value`` rounded by operators of the standard, as :data:`ROUND` does; of the type of ``like``."""
    plain = {"ROUND": "Round", "HALF_EVEN": "Round", "FLOOR": "Floor", "CEIL": "Ceil"}
    if mode in plain:
        return rw.op(plain[mode], [value], like=like)
    sign, size = (rw.op(op, [value], like=like) for op in ("Sign", "Abs"))
    if mode.startswith("HALF"):
        shift = 0.5 if mode == "HALF_UP" else -0.5
        size = rw.op("Add", [size, number_like(rw, like)(np.asarray(shift))], like=like)
    size = rw.op("Floor" if mode in ("DOWN", "HALF_UP") else "Ceil", [size], like=like)
    return rw.op("Mul", [sign, size], like=like)


def number_like(rw: Rewriter, x: ir.Value) -> Callable[[FloatArray], ir.Value]:
    """What makes float32 constants for arithmetic on ``x``."""
    return lambda array: rw.const(np.asarray(array, np.float32).reshape(()), f"{x.name or 'x'}_number")
