"""QuantizeLinear/DequantizeLinear of every exporter, in one form.

    code = saturate(round(x/s) + z)        x' = (code − z)·s                    (ONNX, opset 10 on)

1. Scales and zero points become constants that the node reads itself: exporters put Identity, Reshape or
   Cast between them (PyTorch shares one zero point among all nodes through Identity).
2. One scale has rank 0, not shape [1]; both parameters have one shape. A zero point that is left out is
   written: 0 of uint8, or of the type of the codes.
3. com.microsoft's operators become those of ai.onnx, where the opset has their type.
4. ``Q → Clip → DQ`` with the bounds of a narrow range, as PyTorch exports it, becomes ``Clip → Q → DQ`` on
   real numbers, (low − z)·s … (high − z)·s: the same codes, and between Q and DQ is nothing any more.

5. Codes of 4 and 2 bits become those of 8, constants and pairs alike: what the smaller type cuts off, a Clip
   does. All other passes know 8 and 16 bits; fold-fake-quant{pack=int4} stores the codes as they were.

Scales that are computed at run time, block scales and formats that only newer opsets know stay as they are.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, producer, rank, sole_consumer, static_shape
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.fake_quant.parameters import Refused, opset, settled
from onnxq.passes.importing.fake_quant.quantizer import (
    OPSET_16_BIT,
    OPSET_AXIS,
    Quantizer,
    check_scale,
    emit,
)
from onnxq.quant.qdq import qparams_of

__all__ = ["OPERATORS"]

_OPSET_4_BIT = 21

_SMALL = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}
"""First and last code of the types of less than 8 bits."""


def normalise(node: ir.Node, rw: Rewriter) -> None:
    """QuantizeLinear or DequantizeLinear of ai.onnx or com.microsoft."""
    scale = settled(get_input(node, 1))
    if scale is None:
        raise Refused("its scale is computed at run time: it stays dynamic")
    zero_point = _zero_point(node, scale)
    if not node.attributes.get_int("block_size", 0):
        scale, zero_point = _shapes(node, scale, zero_point, rw)
    given = constant(get_input(node, 1)), constant(get_input(node, 2))
    if not _same(given[0], scale):
        rw.set_input(node, 1, rw.const(scale, _name(node, "scale")))
    if zero_point is not None and not _same(given[1], zero_point):
        rw.set_input(node, 2, rw.const(zero_point, _name(node, "zero_point")))
    if node.domain == "com.microsoft":
        _to_standard(node, zero_point, rw)
    elif is_op(node, "DequantizeLinear") and zero_point is not None and zero_point.dtype.name in _SMALL:
        _widen(node, scale, zero_point, rw)
    elif is_op(node, "DequantizeLinear") and is_op(producer(node, 0), "Clip"):
        _move_clip(node, rw)
    if is_op(node, "QuantizeLinear"):
        check_scale(scale)


def _zero_point(node: ir.Node, scale: Array) -> Array | None:
    """The zero point, or zeros where it is left out; None where its type cannot be told."""
    value = get_input(node, 2)
    zero_point = settled(value)
    if value is not None and zero_point is None:
        raise Refused("its zero point is computed at run time: it stays dynamic")
    codes = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
    dtype = codes.dtype if codes is not None else None
    if dtype is None and node.op_type == "DequantizeLinear":
        dtype = _default(node)
    if zero_point is None:
        dtype = dtype or _default(node)
        return None if dtype is None else np.zeros(scale.shape, dtype.numpy())
    found = ir.DataType.from_numpy(zero_point.dtype)
    if dtype is not None and node.op_type == "DequantizeLinear" and found != dtype:
        raise Refused(f"its codes are {dtype.name.lower()} and its zero point is {found.name.lower()}")
    return zero_point


def _default(node: ir.Node) -> ir.DataType | None:
    """The type of codes whose type is not declared and that have no zero point."""
    maker = node if node.op_type == "QuantizeLinear" else producer(node, 0, "QuantizeLinear")
    if maker is None:
        return None
    if (zero_point := settled(get_input(maker, 2))) is not None:
        return ir.DataType.from_numpy(zero_point.dtype)
    return None if "output_dtype" in maker.attributes else ir.DataType.UINT8


def _shapes(
    node: ir.Node, scale: Array, zero_point: Array | None, rw: Rewriter
) -> tuple[Array, Array | None]:
    """Both parameters at rank 0, or at rank 1 with one entry for each channel."""
    if scale.size == 1:
        if zero_point is not None and zero_point.size != 1:
            raise Refused(f"it has one scale and {zero_point.size} zero points")
        return scale.reshape(()), None if zero_point is None else zero_point.reshape(())
    if scale.ndim != 1:
        raise Refused(f"its scale has the shape {list(scale.shape)}; expected one number, or one a channel")
    if zero_point is not None and zero_point.size not in (1, scale.size):
        raise Refused(f"it has {scale.size} scales and {zero_point.size} zero points")
    if opset(rw) < OPSET_AXIS and node.domain == "":
        raise Refused(
            f"it has {scale.size} scales, but Q/DQ of opset {opset(rw)} has no axis and knows one scale a "
            "tensor only: the file is not valid; run raise-opset if axis 1 is meant"
        )
    axis, shape = node.attributes.get_int("axis", 1), static_shape(get_input(node, 0))
    if shape is not None and not -len(shape) <= axis < len(shape):
        raise Refused(f"its axis {axis} does not exist: its input has the shape {list(shape)}")
    if shape is not None and shape[axis] != scale.size:
        raise Refused(
            f"it has {scale.size} scales along axis {axis}, where its input of shape {list(shape)} has "
            f"{shape[axis]} channels"
        )
    if zero_point is not None:
        zero_point = np.broadcast_to(zero_point.reshape(-1), scale.shape)
    return scale, zero_point


def _to_standard(node: ir.Node, zero_point: Array | None, rw: Rewriter) -> None:
    bits = 8 if zero_point is None else ir.DataType.from_numpy(zero_point.dtype).bitwidth
    needed = {16: OPSET_16_BIT, 4: _OPSET_4_BIT}.get(bits, OPSET_AXIS)
    if opset(rw) < needed:
        raise Refused(
            f"ai.onnx has {bits}-bit Q/DQ from opset {needed} on; run raise-opset{{opset={needed}}}"
        )
    output = node.outputs[0]
    rw.replace(node, rw.op(node.op_type, node.inputs, node.attributes, like=output))


def _widen(node: ir.Node, scale: Array, zero_point: Array, rw: Rewriter) -> None:
    """A DequantizeLinear of 4 or 2 bits, and the QuantizeLinear before it, in 8 bits."""
    if node.attributes.get_int("block_size", 0):
        return
    low, high = _SMALL[zero_point.dtype.name]
    wide, codes = np.dtype(np.uint8 if low == 0 else np.int8), constant(get_input(node, 0))
    if codes is not None:
        rw.set_input(node, 0, rw.const(codes.astype(wide), _name(node, "codes")))
        rw.set_input(node, 2, rw.const(zero_point.astype(wide), _name(node, "zero_point")))
        return
    quantize = producer(node, 0, "QuantizeLinear")
    inner = [None if quantize is None else settled(get_input(quantize, i)) for i in (1, 2)]
    if quantize is None or (x := quantize.inputs[0]) is None or inner[0] is None:
        raise Refused(
            f"its {zero_point.dtype.name} codes come from no QuantizeLinear with constant parameters"
        )
    first = inner[0].astype(np.float64).reshape(scale.shape)
    zero = np.zeros(scale.shape) if inner[1] is None else inner[1].astype(np.float64).reshape(scale.shape)
    axis = _axis(node.attributes.get_int("axis", 1), x) if scale.ndim else None
    out = scale.astype(np.float64), zero_point.astype(np.float64)
    q, real = Quantizer(first, zero, low, high, axis, *out), settled(x)
    rw.replace([quantize, node], emit(x, q, rw, codes=None if real is None else q.codes(real)))


def _move_clip(node: ir.Node, rw: Rewriter) -> None:
    """Clip(codes, low, high) between Q and DQ of one set of parameters."""
    clip = producer(node, 0, "Clip")
    quantize = producer(clip, 0, "QuantizeLinear") if clip is not None else None
    if clip is None or quantize is None or (x := quantize.inputs[0]) is None:
        return
    if sole_consumer(clip.outputs[0]) is None or sole_consumer(quantize.outputs[0]) is None:
        return
    inner, outer = qparams_of(quantize), qparams_of(node)
    bounds = [settled(get_input(clip, i)) for i in (1, 2)]
    if inner is None or outer is None or any(b is not None and b.size != 1 for b in bounds):
        return
    real = settled(x)
    if inner.axis is not None and real is None:
        return
    low = inner.format.qmin if bounds[0] is None else int(bounds[0].reshape(()))
    high = inner.format.qmax if bounds[1] is None else int(bounds[1].reshape(()))
    grids = [(p.scale.astype(np.float64), p.zero_point.astype(np.float64)) for p in (inner, outer)]
    q = Quantizer(*grids[0], low, high, _axis(inner.axis, x), *grids[1])
    rw.replace([quantize, clip, node], emit(x, q, rw, codes=None if real is None else q.codes(real)))


def _axis(axis: int | None, x: ir.Value) -> int | None:
    return axis if axis is None or axis >= 0 else axis + (rank(x) or 0)


def _same(given: Array | None, wanted: Array) -> bool:
    return given is not None and given.shape == wanted.shape and given.dtype == wanted.dtype


def _name(node: ir.Node, what: str) -> str:
    value = node.inputs[0] if node.op_type == "QuantizeLinear" else node.outputs[0]
    return f"{value.name}_{what}" if value is not None and value.name else what


OPERATORS: Mapping[str, Callable[[ir.Node, Rewriter], None]] = {
    "DequantizeLinear": normalise,
    "QuantizeLinear": normalise,
}
