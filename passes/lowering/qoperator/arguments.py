"""What QOperator nodes are made of: codes with scale and zero point, and biases as int32.

    QLinearAdd(a, s_a, z_a, b, s_b, z_b, s_y, z_y)

ONNX Runtime's kernels want the codes of all operands and of the result in one type.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, is_op
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.qdq import parameters

__all__ = [
    "MICROSOFT",
    "activation",
    "bias_value",
    "centred",
    "check_sums",
    "node",
    "real_scale",
    "result",
    "triple",
    "weight_operand",
]

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""

_INT32 = 2**31 - 1


def activation(region: Region, index: int) -> Operand:
    """An 8-bit operand with one scale, of the result's type.

    Raises:
        Refused: it is float, has more bits or several scales, or is of the other 8-bit type.
    """
    operand = region.activation(index)
    if operand.qparams.format.signed != region.output.format.signed:
        raise Refused(
            f"its input is {operand.qparams.format} and its output {region.output.format}: QOperator nodes "
            "want one type; quantize both alike"
        )
    return operand


def weight_operand(region: Region, axis: int) -> Operand:
    """The second operand, if it is a constant of 8 bits whose scales lie along ``axis``.

    Raises:
        Refused: it is something else, or of a type that ONNX Runtime's kernels do not take.
    """
    weight = region.operand(1)
    if weight.array is None or weight.array.size == 0:
        raise Refused(f"its weight '{weight.codes.name}' is not constant")
    if weight.qparams.format.bits != 8:
        raise Refused(f"its weight is {weight.qparams.format}; QOperator nodes take 8 bits")
    if not weight.per_tensor and weight.qparams.axis != axis:
        raise Refused(f"its weight has scales along axis {weight.qparams.axis}; only axis {axis} is possible")
    if np.ptp(weight.qparams.zero_point.astype(np.int64)):
        raise Refused("its weight has a zero point per channel; quantize weights symmetrically")
    if region.output.format.signed and not weight.qparams.format.signed:
        raise Refused("its weight is uint8 and its activations int8: no kernel takes these together")
    return weight


def centred(weight: Operand) -> IntArray:
    """The codes of a constant less their zero point, int64."""
    assert weight.array is not None, "weight_operand gives constants"
    return weight.array - weight.zero_point


def real_scale(operand: Operand) -> FloatArray:
    """The scales of an operand in float64, so that a product of two is exact."""
    return operand.qparams.scale.astype(np.float64)


def triple(rw: Rewriter, operand: Operand) -> list[ir.Value]:
    """Codes, scale and zero point of an operand."""
    return [operand.codes, *parameters(rw, operand.qparams, operand.codes.name or "codes")]


def result(rw: Rewriter, region: Region) -> list[ir.Value]:
    """Scale and zero point of the result."""
    return parameters(rw, region.output, region.result.name or "result")


def node(
    rw: Rewriter,
    region: Region,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, AttributeValue] | None = None,
    *,
    domain: str = "",
) -> ir.Value:
    """The node that makes the codes of the region's result."""
    dtype = region.output.format.ir_dtype
    return rw.op(op_type, inputs, attributes, domain=domain, like=region.result, dtype=dtype)


def bias_value(
    rw: Rewriter, region: Region, scale: FloatArray, channels: int, *, axis: int = -1
) -> tuple[ir.Value | None, IntArray]:
    """The bias as int32 [channels] at ``scale`` = s_x·s_w, float64 [] or [channels], and its codes as int64.

        b_q[c] = round((β·b[c] + b'[c]) / scale[c])

    b is the operator's own third input, b' what an Add behind it contributes along ``axis`` of the result,
    counted from the end. Codes that are at this scale already pass unchanged; without a bias it is None.

    Raises:
        Refused: a bias is computed, differs within a channel, or does not fit into int32.
    """
    own = get_input(region.node, 2) if is_op(region.node, "Conv", "Gemm") else None
    beta = region.node.attributes.get_float("beta", 1.0)
    real = np.zeros(channels) if region.bias is None else _per_channel(region.bias, channels, axis)
    if own is not None:
        codes = region.operands.get(own)
        if codes is not None and beta == 1.0 and region.bias is None and _at(codes, scale, channels):
            assert codes.array is not None, "codes at the accumulator's scale are constant"
            return codes.codes, codes.array
        number = region.constant(2)
        if number is None:
            raise Refused("its bias is not constant")
        real = real + beta * _per_channel(number, channels, -1)
    grid = np.rint(real / scale)
    if not np.all(np.abs(grid) <= _INT32):
        raise Refused("its bias does not fit into int32 at scale s_x·s_w; run fold-fake-quant")
    made = None
    if own is not None or region.bias is not None:
        made = rw.const(grid.astype(np.int32), f"{region.result.name}_bias")
    return made, grid.astype(np.int64)


def check_sums(x: Operand, weight: IntArray, bias: IntArray, axis: int) -> None:
    """Check that no sum of products with a weight (zero point taken off), plus bias, leaves int32.

    Raises:
        Refused: one can.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = int((np.abs(weight).sum(axis=others) * max(-x.low, x.high) + np.abs(bias)).max(initial=0))
    if largest > _INT32:
        raise Refused(f"its sums can reach 2^{math.log2(largest):.1f} and leave int32")


def _per_channel(bias: FloatArray, channels: int, axis: int) -> FloatArray:
    if bias.size == 1:
        return np.broadcast_to(bias.reshape(()), (channels,))
    if bias.size != channels or bias.ndim < -axis or bias.shape[axis] != channels:
        raise Refused(f"what is added to it has the shape {list(bias.shape)}: not one number a channel")
    return bias.reshape(-1)


def _at(bias: Operand, scale: FloatArray, channels: int) -> bool:
    """Whether codes are int32 [channels], zero point 0, at s_x·s_w rounded to float32."""
    codes, qparams = bias.array, bias.qparams
    exact = np.array_equal(np.broadcast_to(qparams.scale, (channels,)), _float32(scale, channels))
    return (
        codes is not None
        and codes.shape == (channels,)
        and qparams.format.bits == 32
        and exact
        and not (qparams.zero_point.any())
    )


def _float32(scale: FloatArray, channels: int) -> FloatArray:
    return np.broadcast_to(scale.astype(np.float32), (channels,))
