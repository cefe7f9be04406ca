"""TensorFlow: FakeQuantWithMinMaxArgs, …Vars and …VarsPerChannel.

    lowest, highest = narrow_range, 2^num_bits − 1
    s  = (max − min) / (highest − lowest)
    z  = lowest − min/s, rounded half up and kept in [lowest, highest]        (the nudged zero point)
    x' = clamp(x, (lowest − z)·s, (highest − z)·s)
    y  = ⌊(x' − (lowest − z)·s)/s + ½⌋·s + (lowest − z)·s

so code = clip(round(x/s) + z, lowest, highest): zero is always a level, whatever min and max say, but where
both have one sign z stays at an end and the range moves. All in float32. Per channel the last axis counts.

Source: tensorflow/core/kernels/fake_quant_ops_functor.h (Nudge). Converters keep the operators' names in a
domain of their own, or in none.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, rank
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.fake_quant.parameters import Refused, required, settled
from onnxq.passes.importing.fake_quant.quantizer import Quantizer, emit

__all__ = ["OPERATORS"]


def with_args(node: ir.Node, rw: Rewriter) -> None:
    """FakeQuantWithMinMaxArgs: the range in attributes."""
    low, high = node.attributes.get_float("min", -6.0), node.attributes.get_float("max", 6.0)
    _replace(node, np.asarray(low), np.asarray(high), None, rw)


def with_vars(node: ir.Node, rw: Rewriter) -> None:
    """FakeQuantWithMinMaxVars: one range in inputs."""
    low, high = _range(node)
    if low.ndim or high.ndim:
        raise Refused(f"its range has {max(low.size, high.size)} entries; expected one")
    _replace(node, low, high, None, rw)


def with_vars_per_channel(node: ir.Node, rw: Rewriter) -> None:
    """FakeQuantWithMinMaxVarsPerChannel: one range for each entry of the last axis."""
    axes = rank(get_input(node, 0))
    if axes is None:
        raise Refused("the rank of its input is not known: infer-shapes")
    low, high = (bound.reshape(-1) for bound in _range(node))
    if low.size != high.size:
        raise Refused(f"it has {low.size} minima and {high.size} maxima")
    _replace(node, low, high, axes - 1, rw)


def _nudged(low: FloatArray, high: FloatArray, bits: int, narrow: bool) -> tuple[FloatArray, FloatArray]:
    """Scale and nudged zero point, float64 holding what TensorFlow computes in float32."""
    first, last = np.float32(narrow), np.float32(2**bits - 1)
    low, high = low.astype(np.float32), high.astype(np.float32)
    with np.errstate(all="ignore"):
        scale = (high - low) / (last - first)
        at = first - low / np.where(scale > 0, scale, np.float32(1))
    zero_point = np.clip(np.floor(at.astype(np.float64) + 0.5), first, last)
    return np.asarray(scale, np.float64), np.asarray(zero_point, np.float64)


def _range(node: ir.Node) -> tuple[FloatArray, FloatArray]:
    return required(node, 1, "minimum"), required(node, 2, "maximum")


def _replace(node: ir.Node, low: FloatArray, high: FloatArray, axis: int | None, rw: Rewriter) -> None:
    bits, narrow = node.attributes.get_int("num_bits", 8), bool(node.attributes.get_int("narrow_range", 0))
    x = get_input(node, 0)
    if x is None or not 2 <= bits <= 16:
        raise Refused(f"it has {bits} bits; expected 2 to 16")
    scale, zero_point = _nudged(low, high, bits, narrow)
    q = Quantizer(scale, zero_point, int(narrow), 2**bits - 1, axis)
    real = settled(x)
    codes = None
    if real is not None:
        step, zero = (q.along(a.astype(np.float32), real.ndim) for a in (scale, zero_point))
        least, most = (np.float32(q.low) - zero) * step, (np.float32(q.high) - zero) * step
        inverse = np.float32(1) / np.where(step > 0, step, np.float32(1))
        inside = np.minimum(np.maximum(real.astype(np.float32), least), most)
        codes = np.floor((inside - least) * inverse + np.float32(0.5)) + q.low
    rw.replace(node, emit(x, q, rw, codes=codes))


OPERATORS: Mapping[str, Callable[[ir.Node, Rewriter], None]] = {
    "FakeQuantWithMinMaxArgs": with_args,
    "FakeQuantWithMinMaxVars": with_vars,
    "FakeQuantWithMinMaxVarsPerChannel": with_vars_per_channel,
}
