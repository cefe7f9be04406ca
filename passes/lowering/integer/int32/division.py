"""Div of two activations in 32-bit words.

    t = (a·2^f) / b,  f ≤ 22                  a = q_a − z_a, b = q_b − z_b, b made positive
    y = clamp(z_y + R·2^-f·t),  R = s_a/(s_b·s_y)

Where b is 0, b is taken as 1 and t as ±2^30, and f is such that this lies beyond all codes; 0/0 is 0.
"""

import math

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.int32.root import chosen, require_8_bits, require_31_bits
from onnxq.passes.lowering.integer.linear.product import centered
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["divide_small"]

INT32 = ir.DataType.INT32

BITS = 30
MOST = BITS - 8
"""f of a quotient of 8-bit numbers."""


def divide_small(region: Region, rw: Rewriter, a: Operand, b: Operand) -> ir.Value:
    """Quotients of codes with at least 8 bits behind the point.

    Raises:
        Refused: the scales are too far apart, or numbers must be shorter.
    """
    require_31_bits(region, "quotients")
    require_8_bits(a, b)
    ratio = a.scale / (b.scale * region.scale)
    fraction = min(MOST, BITS - 9 + math.floor(math.log2(ratio)))
    if fraction < 8 or ratio > 2.0**14:
        raise Refused(f"its scales differ by a factor of {ratio:g}; calibrate again")
    work = Arithmetic(rw, region.result.name or "quotient", INT32)
    dividend, divisor = centered(rw, a), centered(rw, b)
    zero = work.compare("Equal", divisor, work.number(0))
    scaled = work.op("Mul", dividend, 1 << fraction)
    # never zero, and of one sign where the divisor is: then intervals know it too
    divisor = chosen(work, zero, 1, divisor) if b.low < 0 else work.op("Max", divisor, 1)
    if b.low < 0:
        negative = work.compare("Less", divisor, work.number(0))
        sign = chosen(work, negative, -1, 1)
        divisor = work.op("Max", work.rw.op("Abs", [divisor], like=divisor, dtype=INT32), 1)
        scaled = rw.op("Mul", [scaled, sign], like=region.result, dtype=INT32)
    quotient = rw.op("Div", [scaled, divisor], like=region.result, dtype=INT32)
    sign = rw.op("Sign", [dividend], like=dividend, dtype=INT32)
    beyond = work.op("Mul", sign, 1 << BITS)
    quotient = rw.op("Where", [zero, beyond, quotient], like=region.result, dtype=INT32)
    bound = np.asarray(1 << BITS, np.int64)
    term = Term(np.asarray(ratio * 2.0**-fraction), -bound, bound)
    fixed = region.fixed_point([term])
    return requantize(rw, [quotient], fixed, region)
