"""Scales and zero points that no arithmetic can be built on, whoever wrote them."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxq.errors import PassError
from onnxq.graph.match import constant, get_input, is_op
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import describe
from onnxq.graph.scopes import all_nodes
from onnxq.quant.qparams import SMALLEST_SCALE
from onnxq.words import indented

__all__ = ["require_sound_parameters", "why_no_parameters"]


def require_sound_parameters(model: ir.Model) -> None:
    """Accept Q/DQ nodes whose constant scales are positive, finite and normal, and as many as channels.

    The scale of an int32 bias may be as small as the product of two scales is, zero included: it then adds 0.

    Raises:
        PassError: some are not; names each node with what is wrong.
    """
    nodes = (node for node in all_nodes(model) if is_op(node, "QuantizeLinear", "DequantizeLinear"))
    found = [f"{describe(node)}: {text}" for node in nodes for text in _faults(node)]
    if not found:
        return
    raise PassError(
        f"lower-integer found wrong scales or zero points:\n  {indented(found)}\n"
        "Write positive, finite float32 numbers, one a tensor or one a channel: calibrate again, or mend "
        "what wrote the file (a channel that is all zero may have the scale 1)."
    )


def why_no_parameters(node: ir.Node) -> str:
    """Why no integers can be computed by the parameters of a QuantizeLinear or DequantizeLinear."""
    if (size := node.attributes.get_int("block_size", 0)) != 0:
        return f"it has a scale for each block of {size} elements; quantize it with one scale a channel"
    for index, what in ((1, "scale"), (2, "zero point")):
        value = get_input(node, index)
        if value is not None and constant(value) is None:
            return f"its {what} '{value.name}' is computed at run time; make it a constant"
    codes = node.inputs[0] if is_op(node, "DequantizeLinear") else node.outputs[0]
    kind = None if codes is None or codes.dtype is None else codes.dtype
    if kind in (ir.DataType.INT4, ir.DataType.UINT4):
        return f"its codes are {kind.name.lower()}; run import-fake-quant first, which turns 4 bits into 8"
    if kind is not None and kind.is_floating_point():
        return f"its codes are {kind.name.lower()}, no integers; quantize it to 8 or 16 bits"
    return "its scale and zero point are not constant 8-, 16- or 32-bit integer parameters of float32"


def _faults(node: ir.Node) -> Iterator[str]:
    source, given = get_input(node, 0), get_input(node, 1)
    scale, zero_point = constant(given), constant(get_input(node, 2))
    if source is None or given is None or scale is None or scale.dtype != np.float32:
        return
    bias = source.dtype == ir.DataType.INT32
    if (wrong := _wrong(scale, bias=bias)) is not None:
        yield f"its scale '{given.name}' is {wrong}"
    if zero_point is not None and zero_point.size not in (1, scale.size):
        yield f"it has {zero_point.size} zero points, and scales: {scale.size}"
    if scale.ndim != 1 or source.shape is None or (scale.size == 1 and len(source.shape) != 1):
        return
    axes, axis = len(source.shape), node.attributes.get_int("axis", 1)
    if axes == 1 and scale.size == 1:
        return
    if not -axes <= axis < axes:
        yield f"its axis is {axis}, and its input '{source.name}' has {axes} axes"
    elif isinstance(length := source.shape[axis], int) and length != scale.size:
        yield f"it has {scale.size} scales along axis {axis}, where '{source.name}' has {length} channels"


def _wrong(scale: FloatArray, *, bias: bool) -> str | None:
    """What is wrong with the first scale that is no positive, finite, normal number."""
    flat = scale.reshape(-1)
    least = 0.0 if bias else SMALLEST_SCALE
    bad = np.flatnonzero(~(np.isfinite(flat) & (flat >= least)))
    if not bad.size:
        return None
    first = float(flat[bad[0]])
    place = f" at channel {bad[0]}" if flat.size > 1 else ""
    more = f", and {bad.size - 1} others are no better" if bad.size > 1 else ""
    small = ", too small for a normal float32" if 0 < first < SMALLEST_SCALE else ""
    return f"{first:g}{place}{small}{more}"
