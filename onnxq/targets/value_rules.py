"""The rules on Q/DQ nodes and what stands between them; :mod:`onnxq.targets.rules` lists and explains them.

Each check yields (where, what is wrong). Weights and biases are recognized by the linear operator they enter;
every other coded value is an activation.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_op, rank
from onnxq.graph.scopes import all_nodes
from onnxq.quant.eligibility import Kind, kind
from onnxq.quant.formats import IntFormat
from onnxq.quant.operators import (
    LINEAR,
    bias_add,
    bias_stays_float,
    merging_add,
    operands,
    other_operand,
    weight_axis,
)
from onnxq.quant.qdq import dequantized, qparams_of
from onnxq.quant.qparams import QParams
from onnxq.targets.target import Target

__all__ = [
    "bias",
    "clamp",
    "dtype",
    "fixed_range",
    "granularity",
    "move",
    "open_end",
    "power_of_two",
    "rank_of_parameters",
    "symmetric",
    "weight",
    "zero_point",
]

Breaches: TypeAlias = Iterator[tuple[str, str]]

_EXACT = 1e-6


# --- every Q and DQ -------------------------------------------------------------------------------------


def zero_point(model: ir.Model, target: Target) -> Breaches:
    for node in _coders(model):
        if get_input(node, 2) is None:
            yield _name(node), "has no zero point; write it out, zeros too"


def rank_of_parameters(model: ir.Model, target: Target) -> Breaches:
    for node in _coders(model):
        scale, zero = constant(get_input(node, 1)), constant(get_input(node, 2))
        if scale is None:
            yield _name(node), "its scale is computed at run time"
        elif scale.ndim > 1 or (scale.ndim == 1 and "axis" not in node.attributes):
            yield _name(node), f"its scale has the shape {list(scale.shape)}; per tensor it has rank 0"
        elif zero is not None and zero.shape != scale.shape:
            yield (
                _name(node),
                f"its zero point has the shape {list(zero.shape)}, its scale {list(scale.shape)}",
            )


# --- activations ----------------------------------------------------------------------------------------


def dtype(model: ir.Model, target: Target) -> Breaches:
    allowed = {str(fmt) for fmt in target.activations}
    for node, qparams in _activations(model):
        if str(qparams.format) not in allowed:
            yield _name(node), f"is {qparams.format}; the target takes {', '.join(sorted(allowed))}"


def symmetric(model: ir.Model, target: Target) -> Breaches:
    for node, qparams in _activations(model) if target.symmetric else ():
        middle = 0 if qparams.format.signed else 1 << (qparams.format.bits - 1)
        if (qparams.zero_point != middle).any():
            yield _name(node), f"its zero point is not {middle}"


def power_of_two(model: ir.Model, target: Target) -> Breaches:
    weights = {pair for pair, _, _ in _weights(model)}
    for node in _coders(model):
        wanted = target.weight_power_of_two if node in weights else target.activation_power_of_two
        scale = constant(get_input(node, 1))
        if wanted and scale is not None and not (np.frexp(scale)[0] == 0.5).all():
            yield _name(node), "its scale is no power of two"


def clamp(model: ir.Model, target: Target) -> Breaches:
    """Where the target is symmetric, the zero point is 0 and the Relu has to be kept by the runtime."""
    for node in all_nodes(model) if not target.symmetric else ():
        if not is_op(node, "Relu"):
            continue
        for qparams in _results(node.outputs[0]):
            if qparams.axis is None and int(qparams.zero_point) != qparams.format.qmin:
                yield (
                    _name(node),
                    f"its result has zero point {int(qparams.zero_point)}, not {qparams.format.qmin}",
                )


def fixed_range(model: ir.Model, target: Target) -> Breaches:
    for node in all_nodes(model):
        if not is_op(node, *target.fixed_range) or _joined(node.outputs[0], target):
            continue
        low, high = target.fixed_range[node.op_type]
        for qparams in _results(node.outputs[0]):
            signed_half = target.symmetric and qparams.format.signed
            span = 2 * max(-low, high) if signed_half else high - low
            wanted = span / 2**qparams.format.bits
            if qparams.axis is None and not np.isclose(float(qparams.scale), wanted, rtol=1e-5):
                yield _name(node), f"its result has scale {float(qparams.scale):.6g}, not {wanted:.6g}"


def _joined(value: ir.Value, target: Target) -> bool:
    """Whether a value shares its scale with others, because an operator that only moves values joins them."""
    pairs = [reader.outputs[0] for q in consumers(value) for reader in consumers(q.outputs[0])]
    after = [node for pair in pairs for node in consumers(pair)]
    return any(kind(node, target) is Kind.MOVE and len(operands(node).data) > 1 for node in after)


def move(model: ir.Model, target: Target) -> Breaches:
    for node in all_nodes(model):
        if kind(node, target) is not Kind.MOVE:
            continue
        data = [v for i in operands(node).data if (v := get_input(node, i)) is not None]
        reads = [found[1] for value in data if (found := dequantized(value)) is not None]
        writes = [qparams for output in node.outputs for qparams in _results(output)]
        if reads and writes and not all(q.same_as(reads[0]) for q in (*reads, *writes)):
            yield _name(node), "moves values only, but its inputs and outputs have different scales"


def open_end(model: ir.Model, target: Target) -> Breaches:
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
            yield _name(node), f"its result '{last.name}' is used as float; put Q/DQ behind it"


# --- weights and biases ---------------------------------------------------------------------------------


def weight(model: ir.Model, target: Target) -> Breaches:
    for pair, qparams, node in _weights(model):
        codes = constant(pair.inputs[0])
        if codes is None:
            yield _name(node), "its weight is float in front of Q/DQ; run fold-fake-quant"
        elif qparams.zero_point.any():
            yield _name(node), "its weight has a zero point that is not 0"
        elif qparams.format.signed != target.weight.signed or qparams.format.bits != _storage(target.weight):
            yield _name(node), f"its weight is {qparams.format}; the target takes {target.weight}"
        elif codes.size and (codes.min() < -target.weight.qmax - 1 or codes.max() > target.weight.qmax):
            yield _name(node), f"its weight goes beyond {target.weight}"


def granularity(model: ir.Model, target: Target) -> Breaches:
    for pair, qparams, node in _weights(model):
        if qparams.axis is None:
            continue
        wanted = weight_axis(node, rank(pair.outputs[0]) or rank(pair.inputs[0]) or 0)
        if not is_op(node, *target.per_channel):
            yield _name(node), f"its weight has a scale per channel; the target wants one for {node.op_type}"
        elif qparams.axis != wanted:
            yield (
                _name(node),
                f"its weight has scales along axis {qparams.axis}, its output channels lie along {wanted}",
            )


def bias(model: ir.Model, target: Target) -> Breaches:
    for _, weight_qparams, node in _weights(model):
        x, value = dequantized(get_input(node, 0)), _bias(node)
        if x is None or value is None:
            continue
        found = dequantized(value)
        if bias_stays_float(node, target):
            if found is not None:
                yield _name(node), "its bias is an integer; the target takes it as float"
        elif found is None:
            yield _name(node), "its bias is float; run fold-fake-quant"
        elif str(found[1].format) != "int32" or found[1].zero_point.any():
            yield _name(node), "its bias is not int32 with zero point 0"
        elif not _at_product(found[1], x[1], weight_qparams):
            yield _name(node), "its bias is not at scale s_x·s_w"


def _bias(node: ir.Node) -> ir.Value | None:
    add, index = bias_add(node), operands(node).bias
    if add is not None:
        return add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
    return None if index is None else get_input(node, index)


def _at_product(found: QParams, x: QParams, w: QParams) -> bool:
    wanted = x.scale.astype(np.float64) * w.scale.astype(np.float64)
    have = found.scale.astype(np.float64)
    if have.size != wanted.size and wanted.size != 1 and have.size % wanted.size:
        return False
    tiled = np.tile(wanted, have.size // wanted.size) if wanted.ndim and have.ndim else wanted
    return bool(np.all(np.abs(have - tiled) <= _EXACT * tiled))


def _storage(fmt: IntFormat) -> int:
    return fmt.dtype.itemsize * 8


# --- reading --------------------------------------------------------------------------------------------


def _coders(model: ir.Model) -> Iterator[ir.Node]:
    return (node for node in all_nodes(model) if is_op(node, "QuantizeLinear", "DequantizeLinear"))


def _weights(model: ir.Model) -> Iterator[tuple[ir.Node, QParams, ir.Node]]:
    """The DQ of each weight of a linear operator with dequantized data, its parameters, the operator."""
    for node in all_nodes(model):
        if not is_op(node, *LINEAR) or operands(node).weight is None:
            continue
        found = dequantized(get_input(node, 1))
        if found is not None and dequantized(get_input(node, 0)) is not None:
            yield found[0], found[1], node


def _activations(model: ir.Model) -> Iterator[tuple[ir.Node, QParams]]:
    constants = {pair for pair, _, _ in _weights(model)}
    for node in _coders(model):
        if node in constants or constant(get_input(node, 0)) is not None or _is_bias(node):
            continue
        if any(pair in constants for pair in consumers(node.outputs[0])):
            continue
        if (qparams := qparams_of(node)) is not None:
            yield node, qparams


def _is_bias(node: ir.Node) -> bool:
    codes = node.inputs[0]
    return codes is not None and codes.dtype == ir.DataType.INT32


def _results(value: ir.Value) -> list[QParams]:
    """The parameters of the Q nodes that read a value."""
    readers = (reader for reader in consumers(value) if is_op(reader, "QuantizeLinear"))
    return [qparams for reader in readers if (qparams := qparams_of(reader)) is not None]


def _name(node: ir.Node) -> str:
    if is_op(node, "QuantizeLinear", "DequantizeLinear"):
        source = node.inputs[0] if is_op(node, "QuantizeLinear") else node.outputs[0]
        return f"{node.op_type} of '{'' if source is None else source.name}'"
    return f"{node.op_type} '{node.name or node.outputs[0].name}'"
