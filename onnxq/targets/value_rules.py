"""The rules on activations and what stands between them; :mod:`onnxq.targets.rules` explains them."""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_op
from onnxq.graph.scopes import all_nodes
from onnxq.quant.eligibility import Kind, kind
from onnxq.quant.operators import LINEAR, bias_add, merging_add, operands, other_operand
from onnxq.quant.qdq import dequantized
from onnxq.targets.coded_values import Breaches, activations, coders, place, results, weights
from onnxq.targets.target import Target

__all__ = [
    "clamp",
    "dtype",
    "fixed_range",
    "move",
    "open_end",
    "power_of_two",
    "rank_of_parameters",
    "symmetric",
    "zero_point",
]


# --- every Q and DQ -------------------------------------------------------------------------------------


def zero_point(model: ir.Model, target: Target) -> Breaches:
    """Every Q and DQ has a zero point."""
    for node in coders(model):
        if get_input(node, 2) is None:
            yield place(node), "has no zero point; write it out, zeros too"


def rank_of_parameters(model: ir.Model, target: Target) -> Breaches:
    """Scales are constant, of rank 0 or 1, and zero points of the same shape."""
    for node in coders(model):
        scale, zero = constant(get_input(node, 1)), constant(get_input(node, 2))
        if scale is None:
            yield place(node), "its scale is computed at run time"
        elif scale.ndim > 1 or (scale.ndim == 1 and "axis" not in node.attributes):
            yield place(node), f"its scale has the shape {list(scale.shape)}; per tensor it has rank 0"
        elif zero is not None and zero.shape != scale.shape:
            yield (
                place(node),
                f"its zero point has the shape {list(zero.shape)}, its scale {list(scale.shape)}",
            )


# --- activations ----------------------------------------------------------------------------------------


def dtype(model: ir.Model, target: Target) -> Breaches:
    """Activations have a format that the target takes."""
    allowed = {str(fmt) for fmt in target.activations}
    for node, qparams in activations(model):
        if str(qparams.format) not in allowed:
            yield place(node), f"is {qparams.format}; the target takes {', '.join(sorted(allowed))}"


def symmetric(model: ir.Model, target: Target) -> Breaches:
    """Where the target is symmetric, zero points of activations are in the middle of their format."""
    for node, qparams in activations(model) if target.symmetric else ():
        middle = 0 if qparams.format.signed else 1 << (qparams.format.bits - 1)
        if (qparams.zero_point != middle).any():
            yield place(node), f"its zero point is not {middle}"


def power_of_two(model: ir.Model, target: Target) -> Breaches:
    """Scales are powers of two where the target wants that of weights or activations."""
    of_weights = {pair for pair, _, _ in weights(model)}
    for node in coders(model):
        wanted = target.weight_power_of_two if node in of_weights else target.activation_power_of_two
        scale = constant(get_input(node, 1))
        if wanted and scale is not None and not (np.frexp(scale)[0] == 0.5).all():
            yield place(node), "its scale is no power of two"


def clamp(model: ir.Model, target: Target) -> Breaches:
    """Where the target is symmetric, the zero point is 0 and the Relu has to be kept by the runtime."""
    for node in all_nodes(model) if not target.symmetric else ():
        if not is_op(node, "Relu"):
            continue
        for qparams in results(node.outputs[0]):
            if qparams.axis is None and int(qparams.zero_point) != qparams.format.qmin:
                yield (
                    place(node),
                    f"its result has zero point {int(qparams.zero_point)}, not {qparams.format.qmin}",
                )


def fixed_range(model: ir.Model, target: Target) -> Breaches:
    """The result of a function of known range has the scale of that range."""
    for node in all_nodes(model):
        if not is_op(node, *target.fixed_range) or _joined(node.outputs[0], target):
            continue
        low, high = target.fixed_range[node.op_type]
        for qparams in results(node.outputs[0]):
            signed_half = target.symmetric and qparams.format.signed
            span = 2 * max(-low, high) if signed_half else high - low
            wanted = span / 2**qparams.format.bits
            if qparams.axis is None and not np.isclose(float(qparams.scale), wanted, rtol=1e-5):
                yield place(node), f"its result has scale {float(qparams.scale):.6g}, not {wanted:.6g}"


def _joined(value: ir.Value, target: Target) -> bool:
    """Whether a value shares its scale with others, because an operator that only moves values joins them."""
    pairs = [reader.outputs[0] for q in consumers(value) for reader in consumers(q.outputs[0])]
    after = [node for pair in pairs for node in consumers(pair)]
    return any(kind(node, target) is Kind.MOVE and len(operands(node).data) > 1 for node in after)


def move(model: ir.Model, target: Target) -> Breaches:
    """An operator that only moves values has one scale on all sides."""
    for node in all_nodes(model):
        if kind(node, target) is not Kind.MOVE:
            continue
        data = [v for i in operands(node).data if (v := get_input(node, i)) is not None]
        reads = [found[1] for value in data if (found := dequantized(value)) is not None]
        writes = [qparams for output in node.outputs for qparams in results(output)]
        if reads and writes and not all(q.same_as(reads[0]) for q in (*reads, *writes)):
            yield place(node), "moves values only, but its inputs and outputs have different scales"


def open_end(model: ir.Model, target: Target) -> Breaches:
    """Behind a product on integers, and what it takes in, there is a Q."""
    for node in all_nodes(model):
        on_integers = is_op(node, *(LINEAR & target.compute - target.float_output))
        if not on_integers or any(dequantized(value) is None for value in node.inputs[:2]):
            continue
        add = bias_add(node)
        last = (add or node).outputs[0]
        merging = merging_add(last, target)
        if merging is not None and dequantized(other_operand(merging, last)) is not None:
            last = merging.outputs[0]
        readers = consumers(last)
        if len(readers) == 1 and is_op(readers[0], "Relu", "Clip"):
            last, readers = readers[0].outputs[0], consumers(readers[0].outputs[0])
        if last.is_graph_output() or not all(is_op(reader, "QuantizeLinear") for reader in readers):
            yield place(node), f"its result '{last.name}' is used as float; put Q/DQ behind it"
