"""What the contracts of passes mean for an output, in numbers.

exact           floats within ``rtol`` of the largest value of the output, integers equal. Behind a
                QuantizeLinear the last bit of a float can move a code: there integer-exact will do.
approximate     dtype, shape and finiteness stay; the error is measured elsewhere.
integer-exact   at most a ``share`` of the codes differ, by at most ``lsb``. Floats are compared in steps of
                their scale; without one in steps of 1/255 of their largest value, and then by the share
                alone, like integers that are no codes: what follows the last DequantizeLinear can enlarge
                a step.
"""

from dataclasses import dataclass

import numpy as np

from onnxq.data.codes import Codes
from onnxq.graph.numeric import Array, FloatArray
from onnxq.pipeline.base import Contract
from onnxq.words import plural

__all__ = ["Limits", "Scales", "complaint"]

_TINY = 1e-7
"""Outputs that are zero but for rounding are not told apart below this."""


@dataclass(frozen=True)
class Limits:
    """How far outputs may move."""

    rtol: float = 1e-3
    lsb: int = 1
    share: float = 0.01


@dataclass(frozen=True)
class Scales:
    """What is known of the numbers of a tensor: its codes where it is integer, its step where it is float."""

    codes: Codes | None = None
    step: float | None = None
    quantized: bool = False
    """Whether the graph before the pass quantizes anything."""


def complaint(contract: Contract, was: Array, now: Array, scales: Scales, limits: Limits) -> str:
    """How ``now`` breaks the contract, as the end of a sentence about the tensor; empty if it does not."""
    if contract is Contract.INTEGER_EXACT and scales.codes is not None and _became_codes(was, now):
        was = scales.codes.quantize(was, now.dtype)
    if was.shape != now.shape:
        return f"has the shape {list(now.shape)}, before it was {list(was.shape)}"
    if was.dtype != now.dtype:
        return f"is {now.dtype}, before it was {was.dtype}"
    if was.dtype.kind not in "biuf":
        return "" if np.array_equal(was, now) else "has other texts"
    if not np.array_equal(_special(was), _special(now)):
        return "is NaN or infinite at other places"
    if contract is Contract.APPROXIMATE:
        return ""
    if contract is Contract.INTEGER_EXACT:
        return _codes_complaint(was, now, scales, limits)
    found = _exact_complaint(was, now, limits.rtol)
    return (
        found if found and not (scales.quantized and not _codes_complaint(was, now, scales, limits)) else ""
    )


def _became_codes(was: Array, now: Array) -> bool:
    return was.dtype.kind == "f" and now.dtype.kind in "iu"


def _exact_complaint(was: Array, now: Array, rtol: float) -> str:
    error = _error(was, now)
    largest = _largest(was)
    allowed = rtol * largest + _TINY if was.dtype.kind == "f" else 0.0
    wrong = int(np.count_nonzero(error > allowed))
    if not wrong:
        return ""
    worst = float(error.max())
    limits = f"allowed {allowed:.3g}, largest value {largest:.3g}"
    return f"differs by up to {worst:.3g} ({limits}; {_of(wrong, was)})"


def _codes_complaint(was: Array, now: Array, scales: Scales, limits: Limits) -> str:
    integers = was.dtype.kind != "f"
    step = 1.0 if integers else scales.step or max(_largest(was) / 255, _TINY)
    bounded = scales.codes is not None if integers else scales.step is not None
    apart = _error(was, now) / step
    moved = int(np.count_nonzero(apart > 0.5))
    worst = float(apart.max(initial=0.0))
    if bounded and worst >= limits.lsb + 0.5:
        return f"is up to {worst:.3g} codes apart (allowed {limits.lsb}; {_of(moved, was)})"
    if moved > limits.share * was.size:
        return (
            f"has other codes for more than {limits.share:.2%} ({_of(moved, was)}, up to {worst:.3g} apart)"
        )
    return ""


def _special(array: Array) -> Array:
    """Which elements are NaN (2) or an infinity (±1)."""
    if array.dtype.kind != "f":
        return np.zeros(0, np.int8)
    values = array.astype(np.float64)
    return np.where(np.isnan(values), 2, np.where(np.isinf(values), np.sign(values), 0))


def _error(was: Array, now: Array) -> FloatArray:
    left, right = (np.where(np.isfinite(a), a, 0.0) for a in (was.astype(np.float64), now.astype(np.float64)))
    return np.asarray(np.abs(left - right))


def _largest(array: Array) -> float:
    values = np.abs(array.astype(np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))


def _of(count: int, array: Array) -> str:
    return f"{count} of {plural(array.size, 'element')}"
