"""Q/DQ as OpenVINO: ``FakeQuantize(x, input_low, input_high, output_low, output_high; levels)``.

    levels = high − low + 1,  input_low = (low − z)·s,  input_high = (high − z)·s,  the output range likewise

A Clip to whole codes becomes fewer levels. Constants are real numbers again. The bounds are rounded to
float32, so that the scale that is read back may be one unit in the last place off; codes are the same.
Biases stay as they are.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.fake_quant.reading import FakeQuant, Refused
from onnxq.quant.formats import INT16
from onnxq.quant.qparams import QParams

__all__ = ["DOMAIN", "write"]

DOMAIN = "org.openvinotoolkit"


def write(fake: FakeQuant, rw: Rewriter) -> ir.Value:
    """Prepare the FakeQuantize.

    Raises:
        Refused: it is a bias, or one level is left.
    """
    low, high = fake.low, fake.high
    if fake.outer.format.bits > INT16.bits:
        raise Refused("it is a bias of 32 bits: OpenVINO reads it as it is")
    if fake.codes is not None:
        zero = fake.outer.zero_point.astype(np.int64)
        low, high = fake.outer.format.qmin, fake.outer.format.qmax
        if fake.outer.format.signed and not zero.any() and int(fake.codes.min(initial=0)) > low:
            low += 1
    if high <= low:
        raise Refused(f"its codes {low} … {high} are no range")
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
