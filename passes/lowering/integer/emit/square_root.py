"""Square roots of int64 by Newton's method.

It starts at three quarters of the power of two in (√v, 2√v], half of the root off at most; four steps are off
by 2^-36.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import IntArray
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic

__all__ = ["bit_length", "square_root"]

NEWTON_STEPS = 4


def square_root(work: Arithmetic, value: ir.Value) -> ir.Value:
    """√ of positive int64 below 2^62: never below the true root rounded down."""
    length = bit_length(work, value, np.asarray([4**k - 1 for k in range(31)], np.int64))
    powers = work.array(np.asarray([1, 2, *(3 * 2**k for k in range(30))], np.int64))
    root = work.rw.op("Gather", [powers, length], {"axis": 0}, like=value)
    for _ in range(NEWTON_STEPS):
        root = work.op("Div", work.op("Add", root, work.op("Div", value, root)), 2)
    return root


def bit_length(work: Arithmetic, value: ir.Value, steps: IntArray) -> ir.Value:
    """How many of ``steps`` each element of an int64 exceeds."""
    int64, last = ir.DataType.INT64, work.array(np.asarray([-1], np.int64))
    keeps = value.shape is not None and len(value.shape) > 0 and value.shape[-1] == 1
    apart = value if keeps else work.rw.op("Unsqueeze", [value, last], dtype=int64)
    larger = work.rw.op("Greater", [apart, work.array(steps)], dtype=ir.DataType.BOOL)
    flags = work.rw.op("Cast", [larger], {"to": int(int64)}, dtype=int64)
    return work.rw.op("ReduceSum", [flags, last], {"keepdims": int(keeps)}, like=value)
