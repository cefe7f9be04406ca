"""The same numbers in the other 8-bit type: code and zero point 128 higher or lower.

Which type an operator wants is ONNX Runtime's matter: on x86 its product kernel is fast for uint8 on the left
and int8 on the right, and a convolution's left is its weight. Versions before 1.24 convolve uint8 only.
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.words import cast
from onnxq.passes.lowering.integer.operand import Operand
from onnxq.passes.lowering.integer.profile import Dialect, Profile
from onnxq.quant.qparams import QParams

__all__ = ["retyped", "retyped_qparams"]


def retyped(rw: Rewriter, operand: Operand, dtype: ir.DataType, profile: Profile) -> Operand:
    """The operand in int8 or uint8; itself where it is.

    Sums of 8-bit integers exist in ONNX Runtime from 1.21 on, so the portable dialect adds in int32.
    """
    if operand.qparams.format.ir_dtype == dtype:
        return operand
    wraps = profile.dialect == Dialect.FAST
    word = ir.DataType.UINT8 if wraps else ir.DataType.INT32
    number = 128 if wraps or dtype == ir.DataType.UINT8 else -128
    offset = rw.const(np.asarray(number, word.numpy()), f"{operand.codes.name or 'codes'}_offset")
    moved = rw.op("Add", [cast(rw, operand.codes, word), offset], like=operand.codes, dtype=word)
    return Operand(cast(rw, moved, dtype), retyped_qparams(operand.qparams, dtype))


def retyped_qparams(qparams: QParams, dtype: ir.DataType) -> QParams:
    """The parameters that give the moved codes the same meaning."""
    if qparams.format.ir_dtype == dtype:
        return qparams
    signed = dtype == ir.DataType.INT8
    fmt = replace(qparams.format, signed=signed, narrow=False)
    moved = qparams.zero_point.astype(np.int64) + (-128 if signed else 128)
    return replace(qparams, format=fmt, zero_point=moved.astype(fmt.dtype))
