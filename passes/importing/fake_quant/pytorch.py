"""PyTorch: fake_quantize kept as a custom operator by the exporter, and the operators of MQBench.

    fake_quantize_per_tensor_affine(x, s, z, low, high)
    fake_quantize_per_channel_affine(x, s, z, axis, low, high)

        y = (clip(round(x/s + z), low, high) − z)·s

The usual export writes Q/DQ, with a Clip of the codes between them for a narrow range (see ``native``). With
a fall-through export the operator stays, in the domain ``aten`` or ``org.pytorch.aten`` (there as one
operator ATen with the name in an attribute) or in that of a library; the learnable ones of MQBench have
quant_min and quant_max as attributes. low and high may be inputs or attributes.

Source: pytorch aten/src/ATen/native/quantized/cpu/kernels (fake_quantize_*_cachemask); MQBench
``fake_quantize/quantize_base.py``. PyTorch multiplies by 1/s and rounds after adding z: exact ties may fall
to the other side, as they do in its own export.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, rank
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.fake_quant.parameters import Refused, required, settled, whole
from onnxq.passes.importing.fake_quant.quantizer import Quantizer, emit

__all__ = ["OPERATORS", "aten"]


def per_tensor(node: ir.Node, rw: Rewriter) -> None:
    """One scale: (x, s, z[, low, high])."""
    _replace(node, 3, None, rw)


def per_channel(node: ir.Node, rw: Rewriter) -> None:
    """A scale for each entry of an axis: (x, s, z[, axis, low, high])."""
    if get_input(node, 5) is not None:
        axis = whole(required(node, 3, "axis"), "axis")
        return _replace(node, 4, axis, rw)
    return _replace(node, 3, node.attributes.get_int("axis", node.attributes.get_int("ch_axis", 0)), rw)


def aten(node: ir.Node, rw: Rewriter) -> None:
    """ATen with the operator's name in an attribute; any other operator than ours is left alone."""
    name = node.attributes.get_string("operator", "")
    if name not in OPERATORS:
        raise Refused(f"ATen '{name}' is no fake-quantizer that is known; it is kept as it is")
    OPERATORS[name](node, rw)


def _replace(node: ir.Node, first: int, axis: int | None, rw: Rewriter) -> None:
    if (x := get_input(node, 0)) is None:
        raise Refused("its first input is missing")
    scale, zero_point = required(node, 1, "scale"), required(node, 2, "zero point")
    low, high = _bound(node, first, "quant_min"), _bound(node, first + 1, "quant_max")
    if axis is None and (scale.ndim or zero_point.ndim):
        raise Refused(f"it is per tensor and has {max(scale.size, zero_point.size)} scales")
    if axis is not None:
        axes = rank(x)
        axis = axis if axis >= 0 else None if axes is None else axis + axes
        scale, zero_point = np.atleast_1d(scale), np.atleast_1d(zero_point)
        if axis is None or scale.size != zero_point.size:
            raise Refused(f"it has {scale.size} scales and {zero_point.size} zero points")
    q = Quantizer(scale, zero_point, low, high, axis)
    real = settled(x)
    codes = None
    if real is not None:
        step, zero = (q.along(a.astype(np.float32), real.ndim) for a in (scale, zero_point))
        codes = np.rint(real.astype(np.float32) * (np.float32(1) / step) + zero)
    rw.replace(node, emit(x, q, rw, codes=codes))


def _bound(node: ir.Node, index: int, name: str) -> int:
    if name in node.attributes:
        return node.attributes.get_int(name, 0)
    return whole(required(node, index, name), name)


OPERATORS: Mapping[str, Callable[[ir.Node, Rewriter], None]] = {
    "FakeQuantizeLearnablePerTensorAffine": per_tensor,
    "FakeQuantizeLearnablePerchannelAffine": per_channel,
    "FixedPerChannelAffine": per_channel,
    "FixedPerTensorAffine": per_tensor,
    "fake_quantize_per_channel_affine": per_channel,
    "fake_quantize_per_channel_affine_cachemask": per_channel,
    "fake_quantize_per_tensor_affine": per_tensor,
    "fake_quantize_per_tensor_affine_cachemask": per_tensor,
}
