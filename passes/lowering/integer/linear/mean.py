"""Means and sums over whole axes: sums of codes, with the division in the multiplier.

    acc = ReduceSum(Cast<i32>(x))       mean: y = clamp(z_y + s_x/(s_y·n) · (acc − n·z_x))     sum: without n

n is the number of elements. Where it is not known beforehand, one division of int64 takes the shift's place.
"""

import math

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.reduction import settled
from onnxq.passes.lowering.integer.emit.requantize import cast, requantize
from onnxq.passes.lowering.integer.linear.convolution import conv_integer
from onnxq.passes.lowering.integer.linear.weight import Weight
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Rounding, Term, prove_int32

__all__ = ["lower_reduction", "wrongly_up"]

INT32, INT64 = ir.DataType.INT32, ir.DataType.INT64


def lower_reduction(region: Region, rw: Rewriter) -> ir.Value:
    """GlobalAveragePool, ReduceMean and ReduceSum."""
    x, node = region.activation(0), region.node
    axes, keepdims = _reduced(region, x)
    if not axes:
        raise Refused("it reduces no axis")
    shape = x.codes.shape
    lengths = [] if shape is None else [length for axis in axes if isinstance(length := shape[axis], int)]
    if len(lengths) < len(axes):
        return _mean_of_any_length(region, rw, x, axes, keepdims)
    count = math.prod(lengths)
    divisor = 1 if is_op(node, "ReduceSum") else count
    real = np.asarray(x.scale / (region.scale * divisor))
    total, term = _convolved(region, rw, x, lengths, real) or _summed(region, rw, x, lengths, real)
    if not x.wide:
        prove_int32(term.low, term.high, region.where, region.profile.accumulator_bits)
    fixed = region.fixed_point([term])
    return requantize(rw, [total], fixed, region)


def _summed(
    region: Region, rw: Rewriter, x: Operand, lengths: list[int], real: FloatArray
) -> tuple[ir.Value, Term]:
    fmt, count = x.qparams.format, math.prod(lengths)
    axes, keepdims = _reduced(region, x)
    low, high, bias = (np.asarray(count * end, np.int64) for end in (fmt.qmin, fmt.qmax, -x.zero_point))
    word = INT64 if x.wide and count >= 1 << 15 else INT32
    inputs = [cast(rw, x.codes, word), rw.const(np.asarray(axes, np.int64), "axes")]
    total = rw.op("ReduceSum", inputs, {"keepdims": keepdims}, like=region.result, dtype=word)
    if region.profile.short:
        total = settled(rw, total, x.codes)
    return total, Term(real, low, high, bias)


def _convolved(
    region: Region, rw: Rewriter, x: Operand, lengths: list[int], real: FloatArray
) -> tuple[ir.Value, Term] | None:
    """The sums of a GlobalAveragePool for int32 runtimes: OpenVINO rounds a ReduceSum that is divided."""
    shape = x.codes.shape
    channels = None if shape is None else shape[1]
    pool = is_op(region.node, "GlobalAveragePool") and region.profile.dialect == Dialect.INT32
    if not pool or not isinstance(channels, int):
        return None
    ones = Weight(np.ones((channels, 1, *lengths), np.int64), 0, np.ones(()), f"{region.result.name}_ones")
    low, high = (np.asarray(math.prod(lengths) * end, np.int64) for end in (x.low, x.high))
    return conv_integer(region, rw, x, ones, {"group": channels}), Term(real, low, high)


def _mean_of_any_length(region: Region, rw: Rewriter, x: Operand, axes: list[int], keepdims: int) -> ir.Value:
    """``(acc·M + n·K) / (n·2^S)`` in int64, with n counted at run time; truncates, as all is positive.

    Multipliers have 20 bits, so that n·K fits for any n up to 2^32; with codes of 16 bits on either side 22
    bits, for n up to 2^22.
    """
    if is_op(region.node, "ReduceSum"):
        raise Refused("it sums over an axis of unknown length; fix the shapes")
    if region.profile.dialect == Dialect.INT32:
        raise Refused(
            "it averages over an axis of unknown length, for which dialect=int32 is too short; fix the "
            "shapes, or use dialect=portable"
        )
    ratio, levels = x.scale / region.scale, max(x.levels, region.output.format.levels)
    window = levels * math.ceil(ratio + 2)
    shift = 20 - math.ceil(math.log2(ratio))
    if levels > 256:
        shift = min(shift + 2, 40 - window.bit_length())
    if not 1 <= shift <= 40:
        raise Refused(f"its scales differ by a factor of {ratio:g}; calibrate again")
    multiplier = round(ratio * 2**shift)
    addend = (window << shift) - x.zero_point * multiplier + (1 << (shift - 1))
    work = Arithmetic(rw, region.result.name or "mean", INT64)
    count, reduced = _count(work, x, axes)
    inputs = [cast(rw, x.codes, INT64), reduced]
    total = rw.op("ReduceSum", inputs, {"keepdims": keepdims}, like=region.result, dtype=INT64)
    dividend = work.op("Add", work.op("Mul", total, multiplier), work.op("Mul", count, addend))
    divisor = work.op("Mul", count, 1 << shift)
    quotient = work.op("Div", dividend, divisor)
    if multiplier == ratio * 2**shift and region.profile.rounding != Rounding.HALF_UP:
        upward = wrongly_up(work, quotient, window, region.profile.rounding)
        exact = work.compare("Equal", work.op("Mul", quotient, divisor), dividend)
        both = rw.op("And", [exact, upward], like=quotient, dtype=ir.DataType.BOOL)
        quotient = work.op("Sub", quotient, cast(rw, both, INT64))
    narrow = Arithmetic(rw, work.name, INT32)
    code = narrow.op("Add", cast(rw, quotient, INT32), region.zero_point - window)
    return cast(rw, narrow.clip(code, region.low, region.high), region.output.format.ir_dtype)


def wrongly_up(work: Arithmetic, quotient: ir.Value, zero: int, rounding: Rounding) -> ir.Value:
    """Where a tie should not have been rounded up; the code 0 is the quotient ``zero``."""
    if rounding == Rounding.HALF_EVEN:
        return work.compare("Equal", work.op("Mod", quotient, 2), work.number(1))
    return work.compare("Less", quotient, work.number(zero + 1))


def _count(work: Arithmetic, x: Operand, axes: list[int]) -> tuple[ir.Value, ir.Value]:
    """The number of elements along some axes, and these axes as a constant."""
    reduced = work.array(np.asarray(axes, np.int64))
    shape = work.rw.op("Shape", [x.codes], dtype=INT64)
    lengths = work.rw.op("Gather", [shape, reduced], dtype=INT64, shape=ir.Shape([len(axes)]))
    return work.rw.op("ReduceProd", [lengths], {"keepdims": 0}, dtype=INT64, shape=ir.Shape([])), reduced


def _reduced(region: Region, x: Operand) -> tuple[list[int], int]:
    """The axes that a reduction removes, from its attribute or its input, and whether they stay as 1.

    Raises:
        Refused: they are computed, or the rank is not known.
    """
    node, shape = region.node, x.codes.shape
    if shape is None:
        raise Refused("the rank of its input is not known; run shape inference")
    if is_op(node, "GlobalAveragePool"):
        return list(range(2, len(shape))), 1
    given = constant(get_input(node, 1))
    if region.has(1) and given is None:
        raise Refused("its axes are computed at run time")
    axes = [int(axis) for axis in given] if given is not None else list(node.attributes.get_ints("axes", []))
    if not axes and not node.attributes.get_int("noop_with_empty_axes", 0):
        axes = list(range(len(shape)))
    return sorted(axis % len(shape) for axis in axes), node.attributes.get_int("keepdims", 1)
