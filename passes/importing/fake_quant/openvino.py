"""OpenVINO (NNCF, Model Optimizer): FakeQuantize.

    FakeQuantize(x, il, ih, ol, oh; levels = n)

        x ≤ min(il, ih):  y = ol
        x > max(il, ih):  y = oh
        else              y = round((x − il) / (ih − il) · (n − 1)) / (n − 1) · (oh − ol) + ol

With s = (ih − il)/(n − 1) and z = −il/s this is code = clip(round(x/s) + z, 0, n − 1); and with
s' = (oh − ol)/(n − 1), z' = −ol/s' the result is y = (code − z')·s'. Both zero points must be whole, that is,
zero must be a level; NNCF trains its ranges so. Where the output range differs from the input range,
DequantizeLinear has other parameters than QuantizeLinear. Constants may also have levels that leave out zero
half-way (256 levels from −a to a).

Bounds are single numbers, or one a channel. Source: OpenVINO operation specification, FakeQuantize-1.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.fake_quant.parameters import Refused, channel_axis, required, settled
from onnxq.passes.importing.fake_quant.quantizer import Quantizer, emit

__all__ = ["DOMAINS", "OPERATORS"]

DOMAINS = frozenset({"org.openvinotoolkit"})

_BOUNDS = ("input_low", "input_high", "output_low", "output_high")


def fake_quantize(node: ir.Node, rw: Rewriter) -> None:
    """FakeQuantize."""
    x, levels = get_input(node, 0), node.attributes.get_int("levels", 0)
    if x is None or levels < 2:
        raise Refused(f"it has {levels} levels; expected 2 or more")
    axis, bounds = channel_axis(x, *(required(node, i + 1, name) for i, name in enumerate(_BOUNDS)))
    inner, outer = _grid(bounds[0], bounds[1], levels), _grid(bounds[2], bounds[3], levels)
    if np.array_equal(bounds[0], bounds[2]) and np.array_equal(bounds[1], bounds[3]):
        outer = inner
    q = Quantizer(*inner, 0, levels - 1, axis, *outer)
    real = settled(x)
    if real is None:
        rw.replace(node, emit(x, q, rw))
        return
    low, scale = (q.along(a.astype(np.float32), real.ndim) for a in (bounds[0], inner[0]))
    rw.replace(node, emit(x, q, rw, codes=np.rint((real.astype(np.float32) - low) / scale)))


def _grid(low: FloatArray, high: FloatArray, levels: int) -> tuple[FloatArray, FloatArray]:
    """Scale, and zero point where there is a scale."""
    scale = (high - low) / (levels - 1)
    return scale, -low / np.where(scale > 0, scale, 1.0)


OPERATORS: Mapping[str, Callable[[ir.Node, Rewriter], None]] = {"FakeQuantize": fake_quantize}
