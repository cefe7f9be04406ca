"""Concat, Max, Min, Where, Pad, and Gather of a table: every output element is one of the inputs' elements.

    Q(select(a, b, …)) = select(Q(a), Q(b), …)

since rounding keeps order. So each input gets the output's parameters, by a table where they differ, and the
operator itself runs on codes.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.words import cast
from onnxq.passes.lowering.integer.linear.rescaling import rescaled
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region

__all__ = ["lower_constant_move", "lower_pad", "lower_selection"]

INT32, BOOL = ir.DataType.INT32, ir.DataType.BOOL


def lower_selection(region: Region, rw: Rewriter) -> ir.Value:
    """Concat, Max or Min of any number of inputs; Where, whose condition passes through."""
    inputs: list[ir.Value | None] = []
    for index in range(len(region.node.inputs)):
        if index == 0 and is_op(region.node, "Where"):
            inputs.append(get_input(region.node, 0))
            continue
        number = region.constant(index)
        if number is None:
            inputs.append(rescaled(rw, region.activation(index), region))
            continue
        codes = region.output.quantize(number.astype(np.float32))
        inputs.append(rw.const(codes, f"{region.result.name}_constant"))
    return _clamped(region, rw, _chosen(region, rw, inputs))


def _chosen(region: Region, rw: Rewriter, inputs: Sequence[ir.Value | None]) -> ir.Value:
    """The operator on codes; Max, Min and Where in int32 for older kernels, and for codes of 16 bits."""
    dtype = region.output.format.ir_dtype
    through = region.profile.dialect == Dialect.PORTABLE or not region.narrow
    if through and not is_op(region.node, "Concat"):
        wide = [v if v is None or v.dtype == BOOL else cast(rw, v, INT32) for v in inputs]
        return cast(rw, rw.op(region.node.op_type, wide, like=region.result, dtype=INT32), dtype)
    return rw.op(region.node.op_type, inputs, region.node.attributes, like=region.result, dtype=dtype)


def lower_pad(region: Region, rw: Rewriter) -> ir.Value:
    """Pad with a number that is no code of its input: of the result's codes, it is the nearest.

    Raises:
        Refused: the number is computed.
    """
    number = region.constant(2)
    if number is None:
        raise Refused("what it pads with is computed at run time")
    word = region.output.format.ir_dtype if region.narrow else INT32
    fill = region.output.quantize(number.reshape(()).astype(np.float32)).astype(word.numpy())
    x = cast(rw, rescaled(rw, region.activation(0), region), word)
    inputs = [x, region.node.inputs[1], rw.const(fill, f"{region.result.name}_pad"), *region.node.inputs[3:]]
    padded = rw.op("Pad", inputs, region.node.attributes, like=region.result, dtype=word)
    return _clamped(region, rw, padded)


def _clamped(region: Region, rw: Rewriter, chosen: ir.Value) -> ir.Value:
    """The codes within the bounds of a Relu or Clip behind the operator."""
    dtype, fmt = region.output.format.ir_dtype, region.output.format
    if (region.low, region.high) == (fmt.qmin, fmt.qmax):
        return cast(rw, chosen, dtype)
    word = dtype if region.narrow else INT32
    ends = [
        rw.const(np.asarray(n, word.numpy()), f"{region.result.name}_bound")
        for n in (region.low, region.high)
    ]
    return cast(rw, rw.op("Clip", [cast(rw, chosen, word), *ends], like=region.result, dtype=word), dtype)


def lower_constant_move(region: Region, rw: Rewriter) -> ir.Value:
    """Gather, Slice or Expand of a float constant: the constant gets the output's parameters.

    Raises:
        Refused: what it moves is computed as a float.
    """
    table = region.constant(0)
    if table is None:
        raise Refused("it moves floats: no DequantizeLinear makes its input; put a Q/DQ pair there")
    codes = np.clip(region.output.quantize(table.astype(np.float32)), region.low, region.high)
    source = rw.const(codes, f"{region.result.name}_constant")
    inputs = [source, *region.node.inputs[1:]]
    dtype = region.output.format.ir_dtype
    return rw.op(region.node.op_type, inputs, region.node.attributes, like=region.result, dtype=dtype)
