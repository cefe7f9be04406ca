"""Cast of integers and booleans to float in front of a QuantizeLinear: one-hot codes, masks, counts.

y = clamp(z_y + q/s_y)              a boolean has two codes only: Where(q, Q(1), Q(0))

The int32 dialect, which cannot compare 64-bit integers, takes their low 32 bits.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize import cast, requantize
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term

__all__ = ["lower_cast"]


def lower_cast(region: Region, rw: Rewriter) -> ir.Value:
    """Cast to float32 of booleans and integers.

    Raises:
        Refused: its input is of another type.
    """
    value = get_input(region.node, 0)
    if value is None or value.dtype is None:
        raise Refused("the type of its input is not known; run shape inference")
    if value.dtype == ir.DataType.BOOL:
        codes = np.clip(region.output.quantize(np.asarray([0, 1], np.float32)), region.low, region.high)
        # ONNX Runtime before 1.31 chooses between no int8, and none between codes of 16 bits
        dtype = region.output.format.ir_dtype
        through = region.profile.dialect == Dialect.PORTABLE or not region.narrow
        word = ir.DataType.INT32 if through else dtype
        no, yes = (rw.const(code.astype(word.numpy()), f"{region.result.name}_{code}") for code in codes)
        return cast(rw, rw.op("Where", [value, yes, no], like=region.result, dtype=word), dtype)
    if not value.dtype.is_integer():
        raise Refused(f"it casts from {value.dtype.name.lower()}; booleans and integers have a rule")
    if value.dtype.itemsize > 4:
        narrow = region.profile.dialect == Dialect.INT32
        value = cast(rw, value, ir.DataType.INT32) if narrow else _saturated(rw, value)
    assert value.dtype is not None, "it was an integer"
    limits = np.iinfo(value.dtype.numpy())
    ends = (np.asarray(end, np.int64) for end in (limits.min, limits.max))
    term = Term(np.asarray(1 / region.scale), *ends)
    fixed = region.fixed_point([term])
    return requantize(rw, [value], fixed, region)


def _saturated(rw: Rewriter, value: ir.Value) -> ir.Value:
    """A 64-bit integer as int32, at the nearest end where it does not fit: far beyond the last code anyway.

    Comparisons, since int64 Clip is wrong in ONNX Runtime 1.21 to 1.31 on x86.
    """
    assert value.dtype is not None, "the caller knows the type"
    limits = [(np.iinfo(np.int32).max, "Greater")]
    limits += [(np.iinfo(np.int32).min, "Less")] if value.dtype.is_signed() else []
    for limit, beyond in limits:
        end = rw.const(np.asarray(limit, value.dtype.numpy()), f"{value.name or 'integer'}_limit")
        outside = rw.op(beyond, [value, end], like=value, dtype=ir.DataType.BOOL)
        value = rw.op("Where", [outside, end, value], like=value, dtype=value.dtype)
    return cast(rw, value, ir.DataType.INT32)
