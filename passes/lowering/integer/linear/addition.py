"""Add, Sub, Sum and Mean: one multiplier an operand, one shift for all.

    y = clamp((M_a·a + M_b·b + K) >> S)          M_a = s_a/s_y·2^S, M_b = ±s_b/s_y·2^S

Constants, whole tensors too, are part of K. 32-bit words do where they lose nothing.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.operand import Operand
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["code_term", "lower_addition"]


def lower_addition(region: Region, rw: Rewriter) -> ir.Value:
    """Add, Sub, Sum or Mean with broadcasting, of activations and constants."""
    terms: list[Term] = []
    codes: list[ir.Value] = []
    constant, count = np.zeros(()), len(region.node.inputs)
    factors = [1 / count if is_op(region.node, "Mean") else 1.0] * count
    if is_op(region.node, "Sub"):
        factors[1] = -1.0
    for index, sign in enumerate(factors):
        if (number := region.constant(index)) is not None:
            constant = constant + sign * number / region.scale
            continue
        operand = region.activation(index)
        terms.append(code_term(operand, np.asarray(sign * operand.scale / region.scale)))
        codes.append(operand.codes)
    fixed = region.fixed_point(terms, constant=constant, narrow=region.narrow)
    return requantize(rw, codes, fixed, region)


def code_term(operand: Operand, real: np.ndarray) -> Term:
    """``real · (q − z)`` for the codes of an operand."""
    fmt = operand.qparams.format
    ends = (np.asarray(end, np.int64) for end in (fmt.qmin, fmt.qmax, -operand.zero_point))
    return Term(np.asarray(real, np.float64), *ends)
