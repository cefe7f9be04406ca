"""Attention masks in front of a Softmax: which elements take no part.

    softmax(x + f(m))       f(m) is 0 where m shows an element, and far below zero where it hides one

f is a table in units of x's scale, added to the codes of x as int32. A difference of 256 codes or more leaves
nothing of an exponential. Where all of a row is hidden, all is as without mask, as it should be.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, producer
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.lookup import gather, image, read_function
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.requantize import cast

__all__ = ["masked_input"]

LIMIT = 2**24
"""Codes that the strongest mask adds or takes away."""

VANISHING = 16.0
"""e^-16 is less than half of 2^-22, the smallest unit of the exponentials."""


def masked_input(region: Region, rw: Rewriter) -> tuple[Operand, ir.Value]:
    """What a Softmax reads: an 8-bit operand, and its codes as int32, hidden ones far lower.

    Raises:
        Refused: it reads a float that is no operand plus a mask.
    """
    add = producer(region.node, 0, "Add")
    value = get_input(region.node, 0)
    if add is None or (value is not None and region.operands.get(value) is not None):
        operand = region.activation(0)
        return operand, cast(rw, operand.codes, ir.DataType.INT32)
    for index in (0, 1):
        scores, bias = get_input(add, index), get_input(add, 1 - index)
        x = None if scores is None else region.operands.get(scores)
        found = None if bias is None or x is None else _table(region, bias, rw)
        if x is None or found is None or not _is_mask(found[1], x):
            continue
        x.require_8_bit("what it masks")
        steps = np.clip(np.rint(found[1] / x.scale), -LIMIT, LIMIT).astype(np.int32)
        hidden = gather(rw, found[0], steps)
        wide = cast(rw, x.codes, ir.DataType.INT32)
        return x, rw.op("Add", [wide, hidden], dtype=ir.DataType.INT32, shape=add.outputs[0].shape)
    raise Refused(
        "a float is added to its input that is no mask: its values are too close together to hide anything"
    )


def _table(region: Region, bias: ir.Value, rw: Rewriter) -> tuple[Operand, FloatArray] | None:
    """The 8-bit operand behind a float, and the float for each of its codes."""
    if (operand := region.operands.get(bias)) is not None:
        if not operand.per_tensor or operand.qparams.format.bits != 8:
            return None
        codes = np.arange(256).astype(operand.qparams.format.dtype)
        return operand, operand.qparams.dequantize(codes)
    function = read_function(bias, region.operands)
    return None if function is None else (function.operand, image(function, rw.model.opset_imports))


def _is_mask(bias: FloatArray, x: Operand) -> bool:
    """Whether it hides something. A bias that only shifts weights would suffer from whole codes of x."""
    return x.per_tensor and float(np.ptp(bias)) > 255 * x.scale + VANISHING
