"""Operators that only move numbers, or choose among them: on codes they do the same.

MaxPool, Reshape, Transpose, Slice, Concat and the like give codes of their input's parameters. Two need care:
Pad fills with the code of its value, and Resize by scales, which are floats, becomes Resize by sizes.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, rank, static_shape
from onnxq.graph.numeric import IntArray
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.lowering.integer.emit.reduction import reduce_axes
from onnxq.passes.lowering.integer.emit.words import cast
from onnxq.passes.lowering.integer.movement.wide_moves import (
    THROUGH_INT32,
    explicit_pads,
    is_sliced,
    max_pool,
    shuffled,
)
from onnxq.passes.lowering.integer.operand import Operand, Operands, Refused, describe_codes
from onnxq.passes.lowering.integer.profile import Dialect

__all__ = ["MOVES", "SHAPE_READERS", "lower_move"]

MOVES = frozenset(
    {
        "Compress",
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "GlobalMaxPool",
        "Identity",
        "MaxPool",
        "Pad",
        "ReduceMax",
        "ReduceMin",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)

SHAPE_READERS = frozenset({"Shape", "Size", "ArgMax", "ArgMin"})
"""Their answer is the same for codes as for the numbers that these stand for."""


def lower_move(
    node: ir.Node, operands: Operands, rw: Rewriter, dialect: Dialect | None = None
) -> dict[ir.Value, Operand]:
    """Prepare the same operator on codes; its float outputs with the integer tensors that stand for them.

    The answer is empty where the node is no such operator or reads floats. Where a ``dialect`` is given,
    other operators may take its place.

    Raises:
        Refused: it is one, but cannot run on codes.
    """
    source = get_input(node, 0)
    if not is_op(node, *MOVES) or source is None or (operand := operands.get(source)) is None:
        return {}
    if not operand.per_tensor or any(o.dtype not in (None, ir.DataType.FLOAT) for o in node.outputs):
        raise Refused("it moves a tensor with one scale per channel, or gives indices as well")
    given = operand
    if operand.wide and is_op(node, *THROUGH_INT32):
        operand = replace(operand, codes=cast(rw, operand.codes, ir.DataType.INT32))
    inputs: list[ir.Value | None] = [operand.codes, *node.inputs[1:]]
    attributes: dict[str, AttributeValue] = dict(node.attributes)
    if is_op(node, "Concat"):
        parts = [None if value is None else operands.get(value) for value in node.inputs]
        if any(part is None or not part.qparams.same_as(operand.qparams) for part in parts):
            return {}
        inputs = [part.codes for part in parts if part is not None]
    if is_op(node, "Pad"):
        inputs = _pad(node, operand, rw)
    if is_op(node, "Resize"):
        inputs = _resize(node, operand, rw)
        attributes = {
            k: v
            for k, v in attributes.items()
            if not isinstance(v, ir.Attr) or v.type != ir.AttributeType.FLOAT
        }
    if is_op(node, "MaxPool"):
        attributes |= explicit_pads(node)
    first = _made(node, operand, inputs, attributes, rw, dialect)
    if operand is not given:
        first.type = operand.codes.type
        first = cast(rw, first, given.qparams.format.ir_dtype)
    made = first.producer()
    assert made is not None, "a prepared value has a node"
    moved: dict[ir.Value, Operand] = {}
    for was, now in zip(node.outputs, made.outputs, strict=True):
        now.type, now.shape = ir.TensorType(operand.qparams.format.ir_dtype), was.shape
        now.name = rw.unique(f"{was.name or 'moved'}_codes")
        describe_codes(now, operand.qparams)
        moved[was] = Operand(now, operand.qparams)
    return moved


def _made(
    node: ir.Node,
    operand: Operand,
    inputs: list[ir.Value | None],
    attributes: Mapping[str, AttributeValue],
    rw: Rewriter,
    dialect: Dialect | None,
) -> ir.Value:
    """The same operator; for GlobalMaxPool, which knows no integers, a ReduceMax."""
    if is_op(node, "MaxPool") and (operand.wide or is_sliced(node, dialect)):
        return max_pool(node, operand.codes, operand.qparams.format.qmin, rw)
    if operand.wide and is_op(node, "DepthToSpace", "SpaceToDepth"):
        return shuffled(node, operand.codes, rw)
    if not is_op(node, "GlobalMaxPool"):
        return rw.op(node.op_type, inputs, attributes, outputs=len(node.outputs))
    axes, codes = rank(node.inputs[0]), inputs[0]
    if axes is None or codes is None:
        raise Refused("the rank of its input is not known; run shape inference")
    return reduce_axes(rw, "ReduceMax", codes, range(2, axes))


def _pad(node: ir.Node, operand: Operand, rw: Rewriter) -> list[ir.Value | None]:
    """The inputs of Pad, its value as a code.

    Raises:
        Refused: the value is computed, or is no code.
    """
    given = get_input(node, 2)
    real = constant(given) if given is not None else np.zeros((), np.float32)
    if given is not None and (own := constant(given)) is not None and own.dtype.kind in "iu":
        return [operand.codes, *node.inputs[1:]]
    if real is None:
        raise Refused("its value is computed at run time")
    code: IntArray = operand.qparams.quantize(real.reshape(()))
    if float(operand.qparams.dequantize(code)) != float(real.reshape(())):
        raise Refused(f"its value {float(real.reshape(())):g} is no code of its input's scale and zero point")
    word = operand.codes.dtype or operand.qparams.format.ir_dtype
    value = rw.const(code.astype(word.numpy()), f"{operand.codes.name or 'codes'}_pad")
    return [operand.codes, node.inputs[1], value, *node.inputs[3:]]


def _resize(node: ir.Node, operand: Operand, rw: Rewriter) -> list[ir.Value | None]:
    """The inputs of a nearest-neighbour Resize, with sizes in place of scales.

    Raises:
        Refused: it interpolates, or the sizes are not whole multiples known beforehand.
    """
    mode = node.attributes.get_string("mode", "nearest")
    if (
        mode != "nearest"
        or node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    ):
        raise Refused(f"it interpolates (mode '{mode}'); only nearest has an integer rule")
    if get_input(node, 3) is not None:
        return [operand.codes, None, None, node.inputs[3]]
    scales, sizes = constant(get_input(node, 2)), static_shape(node.inputs[0])
    if scales is None:
        raise Refused("its scales are computed at run time; give sizes")
    name = node.outputs[0].name or "resize"
    whole = np.rint(scales).astype(np.int64)
    if "axes" not in node.attributes and np.array_equal(whole, scales):
        now = rw.op("Shape", [operand.codes], dtype=ir.DataType.INT64)
        factors = rw.const(whole, f"{name}_scales")
        return [operand.codes, None, None, rw.op("Mul", [now, factors], dtype=ir.DataType.INT64)]
    if sizes is None:
        raise Refused("its scales are no whole numbers and its shape is not static; give sizes")
    axes = node.attributes.get_ints("axes", range(len(sizes)))
    exact = [float(scale) * sizes[axis] for scale, axis in zip(scales, axes, strict=True)]
    if any(size != int(size) for size in exact):
        raise Refused("its scales do not give whole sizes")
    target = rw.const(np.asarray(exact, np.int64), f"{name}_sizes")
    return [operand.codes, None, None, target]
