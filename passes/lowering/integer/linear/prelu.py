"""PRelu with a slope for each channel: two terms, of which one is zero everywhere.

y = clamp(z_y + s_x/s_y · p + slope·s_x/s_y · n)          p = Relu(q − z_x), n = (q − z_x) − p
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize import requantize
from onnxq.passes.lowering.integer.linear.product import centered
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["lower_prelu"]


def lower_prelu(region: Region, rw: Rewriter) -> ir.Value:
    """PRelu whose slope is constant and broadcasts to its input.

    Raises:
        Refused: the slope is computed, or the opset has no integer Relu.
    """
    x, slope = region.activation(0), region.constant(1)
    if slope is None:
        raise Refused("its slope is computed at run time")
    if (rw.model.opset_imports.get("") or 0) < 14:
        raise Refused("Relu of integers exists from opset 14 on; raise the opset")
    distance = centered(rw, x)
    positive = rw.op("Relu", [distance], like=x.codes, dtype=ir.DataType.INT32)
    negative = rw.op("Sub", [distance, positive], like=x.codes, dtype=ir.DataType.INT32)
    ratio, zero = x.scale / region.scale, np.zeros((), np.int64)
    fixed = region.fixed_point(
        [
            Term(np.asarray(ratio), zero, np.asarray(x.high, np.int64)),
            Term(slope * ratio, np.asarray(x.low, np.int64), zero),
        ],
        narrow=region.narrow,
    )
    return requantize(rw, [positive, negative], fixed, region)
