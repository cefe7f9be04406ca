"""From accumulators to codes in six nodes: Cast, Mul, Add, BitShift, Clip, Cast.

    y = Cast(Clip(BitShift(Cast<u64>(q)·M + (K + (W << S)), S), W + low, W + high))      W = 2^(62−S)

Casting a negative number to unsigned, Mul and Add wrap modulo 2^64, so signs need no node. The window W
makes the shifted number positive; it is a multiple of 256, so the last Cast, which keeps the low byte,
drops it. Unsigned words because ONNX shifts only these, and because int64 Clip is wrong in ONNX Runtime 1.21
to 1.31 on x86. With several terms each has its Cast and Mul, and Add sums them.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import FixedPoint

__all__ = ["cast", "requantize"]


def cast(rw: Rewriter, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    """The value in another integer type, two's complement; itself if it has that type."""
    if value.dtype == dtype:
        return value
    return rw.op("Cast", [value], {"to": int(dtype)}, like=value, dtype=dtype)


def requantize(rw: Rewriter, values: Sequence[ir.Value], fixed: FixedPoint, region: Region) -> ir.Value:
    """Prepare the nodes that compute ``fixed`` from one integer tensor a term; codes of ``region.result``."""
    result = region.result
    word = ir.DataType[f"UINT{fixed.word}"]
    name = result.name or "codes"
    total: ir.Value | None = None
    for value, multiplier in zip(values, fixed.multipliers, strict=True):
        wide = cast(rw, value, word)
        shape = result.shape if multiplier.ndim else value.shape
        factor = rw.const(multiplier.astype(word.numpy()), f"{name}_multiplier")
        product = rw.op("Mul", [wide, factor], dtype=word, shape=_copy(shape))
        total = product if total is None else rw.op("Add", [total, product], like=result, dtype=word)
    addend = fixed.addend + np.int64(fixed.window << fixed.shift)
    total = rw.op(
        "Add", [total, rw.const(addend.astype(word.numpy()), f"{name}_addend")], like=result, dtype=word
    )
    shift = rw.const(np.asarray(fixed.shift, word.numpy()), f"{name}_shift")
    total = rw.op("BitShift", [total, shift], {"direction": "RIGHT"}, like=result, dtype=word)
    low, high = (
        rw.const(np.asarray(fixed.window + code, word.numpy()), f"{name}_{end}")
        for code, end in ((fixed.low, "low"), (fixed.high, "high"))
    )
    total = rw.op("Clip", [total, low, high], like=result, dtype=word)
    return cast(rw, total, region.output.format.ir_dtype)


def _copy(shape: ir.Shape | None) -> ir.Shape | None:
    return None if shape is None else shape.copy()
