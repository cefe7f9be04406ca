"""Whether a node can run on integers, and if not, the sentence that says why and what would help."""

from enum import StrEnum

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_float, is_op, producer, scalar
from onnxq.graph.numeric import FloatArray
from onnxq.graph.scopes import Scope
from onnxq.quant.operators import operands
from onnxq.quant.qdq import dequantized, through_fake_quant
from onnxq.targets.target import Target

__all__ = ["Kind", "is_quantized_already", "kind", "masks", "unfit", "why_not"]


MASK = -9e3
"""Constants as low as this mask values out: transformers write −1e4, −65504, −1e9, −3.4e38 or −inf."""


class Kind(StrEnum):
    """How an operator treats codes."""

    COMPUTE = "compute"
    """Inputs and outputs have scales of their own."""
    MOVE = "move"
    """Codes pass through: inputs and outputs share one scale."""
    FLOAT = "float"


def kind(node: ir.Node, target: Target) -> Kind:
    """What the target makes of an operator.

    Nearest Resize moves values. Every other Resize computes: it stays float where the target only moves. Min
    and Max move values where they cut channels within the bounds of a Clip. In strict integers a Pad with
    another number than zero, which its input may have no code for, gives its result a scale of its own.
    """
    if is_op(node, "Resize") and "Resize" in target.compute | target.move:
        if node.attributes.get_string("mode", "nearest") == "nearest":
            return Kind.MOVE
        return Kind.COMPUTE if "Resize" in target.compute else Kind.FLOAT
    if is_op(node, *target.compute):
        return Kind.COMPUTE
    if is_op(node, "Max", "Min") and not _cuts_within(node):
        return Kind.FLOAT
    if is_op(node, "Pad") and _pads_with_codes(target) and np.isfinite(_fill(node) or 0.0):
        return Kind.COMPUTE if _fill(node) else Kind.MOVE
    return Kind.MOVE if is_op(node, *target.move) else Kind.FLOAT


def why_not(node: ir.Node, scope: Scope, target: Target) -> str | None:
    """The reason why a node stays float; None where it can be quantized."""
    if kind(node, target) is Kind.FLOAT:
        return _unsupported(node, target)
    if scope.is_function:
        return "it is inside a function: run inline-functions first"
    if scope.path != "main":
        return f"it is inside the body {scope.path}: bodies of If, Loop and Scan stay float"
    if is_op(node, "Pad") and kind(node, target) is Kind.MOVE and _fill(node) != 0:
        return "pads with something else than zero"
    return unfit(node)


def unfit(node: ir.Node) -> str | None:
    """The reason why no target could quantize a node of the main graph: its types, or a computed operand."""
    return _bad_types(node) or _bad_operand(node)


def masks(node: ir.Node) -> bool:
    """Whether a node brings in a constant such as −10000 or −3.4e38 that stands for minus infinity."""
    if not is_op(node, "Add", "Sub", "Mul", "Where", "ConstantOfShape"):
        return False
    tensors = [a for value in node.inputs if (a := constant(value)) is not None]
    if (fill := node.attributes.get("value")) is not None:
        tensors.append(fill.as_tensor().numpy())
    return any(a.dtype == np.float32 and a.size and float(a.min()) <= MASK for a in tensors)


def is_quantized_already(value: ir.Value) -> bool:
    """Whether a value comes out of a DequantizeLinear or goes into a QuantizeLinear: trained ranges win."""
    return is_op(producer(value), "DequantizeLinear") or any(
        is_op(use.node, "QuantizeLinear") and use.idx == 0 for use in value.uses()
    )


def _pads_with_codes(target: Target) -> bool:
    return target.form == "integer" and "Pad" in target.move


def _fill(node: ir.Node) -> float | None:
    """The number that a Pad puts around its input, 0 in the modes that repeat it; None if it is computed."""
    if node.attributes.get_string("mode", "constant") != "constant" or get_input(node, 2) is None:
        return 0.0
    return scalar(get_input(node, 2))


def _cuts_within(node: ir.Node) -> bool:
    """Whether a Min or Max holds a clipped value against constants within the bounds of the Clip."""
    held = [found for value in node.inputs if (found := _real(value)) is not None]
    maker = next((producer(through_fake_quant(v)) for v in node.inputs if _real(v) is None), None)
    while maker is not None and is_op(maker, "Max", "Min"):
        maker = next((producer(through_fake_quant(v)) for v in maker.inputs if _real(v) is None), None)
    bounds = (
        [scalar(get_input(maker, i)) for i in (1, 2)] if maker is not None and is_op(maker, "Clip") else []
    )
    low, high = (*bounds, None, None)[:2]
    if low is None or high is None or len(held) != 1 or len(node.inputs) != 2:
        return False
    array, slack = held[0]
    return bool(low - slack <= array.min() and array.max() <= high + slack)


def _real(value: ir.Value | None) -> tuple[FloatArray, float] | None:
    """The numbers of a constant, and how far they may be from those that were rounded to them."""
    if (array := constant(value)) is not None:
        return array, 0.0
    found = dequantized(value)
    codes = None if found is None else constant(found[0].inputs[0])
    if found is None or codes is None:
        return None
    return np.asarray(found[1].dequantize(codes)), float(found[1].scale.max()) / 2


def _unsupported(node: ir.Node, target: Target) -> str:
    if node.domain not in ("", "ai.onnx"):
        return f"{node.domain}::{node.op_type} is no standard operator"
    if is_op(node, "QuantizeLinear", "DequantizeLinear"):
        return "quantizes or dequantizes already"
    if is_op(node, "If", "Loop", "Scan"):
        return f"{node.op_type} chooses what runs; its bodies stay float"
    if is_op(node, "BatchNormalization"):
        return "BatchNormalization is left where nothing could absorb it: run the prepare preset"
    if is_op(node, *target.split):
        return (
            f"target {target.name} takes {node.op_type} in parts only, and it is not written out: where axes "
            "are open fix them (quantize --fix-shapes samples); run --explain names other reasons"
        )
    touched = [value for value in (*node.inputs, *node.outputs) if is_float(value)]
    return f"target {target.name} has no integer {node.op_type}" if touched else "holds no float values"


def _bad_types(node: ir.Node) -> str | None:
    values = [node.inputs[i] for i in operands(node).data if i < len(node.inputs)]
    for value in (*values, *node.outputs[:1]):
        if value is None or is_float(value):
            continue
        if value.dtype is None:
            return f"the type of '{value.name}' is not known: run infer-shapes"
        help_ = ": run floats-to-float32" if value.dtype.is_floating_point() else ""
        return f"works on {value.dtype.name.lower()}, not on float32{help_}"
    return None


def _bad_operand(node: ir.Node) -> str | None:
    if is_op(node, "Conv", "ConvTranspose") and constant(through_fake_quant(get_input(node, 1))) is None:
        return "its weight is computed at run time"
    if is_op(node, "Clip") and any(
        scalar(v) is None for i in (1, 2) if (v := get_input(node, i)) is not None
    ):
        return "its bounds are not constant"
    if is_op(node, "PRelu") and constant(through_fake_quant(get_input(node, 1))) is None:
        return "its slope is not constant"
    if is_op(node, "MaxPool") and len(node.outputs) > 1 and node.outputs[1].uses():
        return "its indices are read"
    if all(constant(node.inputs[i]) is not None for i in operands(node).data if node.inputs[i] is not None):
        if any(constant(value) is None for value in node.inputs if value is not None):
            return "it looks up a constant, such as an embedding: the table stays float"
        return "all its inputs are constant: run simplify"
    return None
