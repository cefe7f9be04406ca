"""Q/DQ as OpenVINO: ``FakeQuantize(x, input_low, input_high, output_low, output_high; levels)``.

    levels = high − low + 1,  input_low = (low − z)·s,  input_high = (high − z)·s,  the output range likewise

A Clip to whole codes becomes fewer levels. Constants are real numbers again. The bounds are rounded to
float32, so that the scale that is read back may be one unit in the last place off; codes are the same.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.fake_quant.reading import FakeQuant, Refused
from onnxq.quant.qparams import QParams

__all__ = ["DOMAIN", "write"]

DOMAIN = "org.openvinotoolkit"

_MOST_LEVELS = 1 << 16


def write(fake: FakeQuant, rw: Rewriter) -> ir.Value:
    """Prepare the FakeQuantize.

    Raises:
        Refused: there are too many levels.
    """
    low, high = fake.low, fake.high
    if fake.codes is not None and fake.outer.format.bits <= 16:
        zero = fake.outer.zero_point.astype(np.int64)
        low, high = fake.outer.format.qmin, fake.outer.format.qmax
        if fake.outer.format.signed and not zero.any() and int(fake.codes.min(initial=0)) > low:
            low += 1
    if not 2 <= high - low + 1 <= _MOST_LEVELS:
        raise Refused(f"its codes {low} … {high} are too many levels; a bias stays as it is")
    x = fake.x
    if (real := fake.real) is not None:
        x = rw.const(real, f"{fake.name}_real")
    ends = [(_end(p, code)) for p in (fake.inner, fake.outer) for code in (low, high)]
    names = ("input_low", "input_high", "output_low", "output_high")
    bounds = [rw.const(fake.along(end), f"{fake.name}_{n}") for end, n in zip(ends, names, strict=True)]
    output = fake.nodes[-1].outputs[0]
    levels = {"levels": high - low + 1}
    return rw.op("FakeQuantize", [x, *bounds], levels, domain=DOMAIN, like=output)


def _end(qparams: QParams, code: int) -> FloatArray:
    distance = code - qparams.zero_point.astype(np.float64)
    return np.asarray(distance * qparams.scale.astype(np.float64), np.float32)
