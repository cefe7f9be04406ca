"""Q/DQ as QONNX: ``Quant(x, scale, zero point, bits)``.

    low … high  =  −2^(b−1) + narrow … 2^(b−1) − 1      signed
                   0 … 2^b − 1 − narrow                 unsigned

An activation whose codes a Clip limits to such a range gets its bits, and the Clip goes; with another Clip it
keeps the bits of its type, and the Clip. Constants are real numbers again in front of a Quant with the least
bits that hold their codes. QONNX rounds after adding the zero point, ONNX before: where that is odd, exact
ties fall to the other side.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering.fake_quant.reading import FakeQuant, Refused

__all__ = ["DOMAIN", "write"]

DOMAIN = "qonnx.custom_op.general"

_EXACT = 1 << 24
"""float32 holds every whole number up to here: codes beyond would not come back."""


def write(fake: FakeQuant, rw: Rewriter) -> ir.Value:
    """Prepare the Quant.

    Raises:
        Refused: codes are read with other parameters than they are made with, or are too large.
    """
    if not fake.inner.same_as(fake.outer):
        raise Refused("its codes are read with other parameters than they are made with; Quant has one set")
    low, high, x = fake.low, fake.high, fake.x
    found = _least_width(low, high) if x is None else _width(low, high)
    if found is None:
        x = fake.nodes[0].outputs[0]
        found = _width(fake.inner.format.qmin, fake.inner.format.qmax)
    if found is None or max(-low, high) > _EXACT:
        raise Refused(f"its codes {low} … {high} are no range of Quant that float32 holds")
    bits, signed, narrow = found
    if (real := fake.real) is not None:
        x = rw.const(real, f"{fake.name}_real")
    params = [
        rw.const(fake.along(fake.outer.scale), f"{fake.name}_scale"),
        rw.const(fake.along(fake.outer.zero_point).astype(np.float32), f"{fake.name}_zero_point"),
        rw.const(np.asarray(bits, np.float32), f"{fake.name}_bits"),
    ]
    attributes: dict[str, AttributeValue] = {"narrow": int(narrow), "signed": int(signed)}
    attributes["rounding_mode"] = "ROUND"
    output = fake.nodes[-1].outputs[0]
    return rw.op("Quant", [x, *params], attributes, domain=DOMAIN, like=output)


def _width(low: int, high: int) -> tuple[int, bool, bool] | None:
    """Bits, signed and narrow of a range of codes; None if Quant has no such range."""
    if low == 0 and high > 1:
        bits = (high + 1).bit_length() if high & (high + 1) else high.bit_length()
        if high in ((1 << bits) - 1, (1 << bits) - 2):
            return bits, False, high == (1 << bits) - 2
    bits = max(high, 0).bit_length() + 1
    if bits > 1 and high == (1 << (bits - 1)) - 1 and low in (-high - 1, -high):
        return bits, True, low == -high
    return None


def _least_width(low: int, high: int) -> tuple[int, bool, bool]:
    """The least signed range round zero that holds codes; unsigned where that saves the ninth bit."""
    bits = max(2, max(high, 0).bit_length() + 1, max(-low - 1, 0).bit_length() + 1)
    if low >= 0 and bits == 9:
        return 8, False, False
    return bits, True, low > -(1 << (bits - 1))
