"""Which inputs of an operator are data, weight and bias, and along which axis its channels lie.

The one table of weight axes in onnxq; a wrong axis gives a valid model with wrong numbers.

    operator         weight layout                     output channels along
    Conv             [C_out, C_in/group, …]            0
    ConvTranspose    [C_in, C_out/group, …]            1   (the scales are shared by the groups)
    Gemm             [K, N], or [N, K] with transB     1, or 0
    MatMul           [K, N]                            1   (a constant of higher rank: per tensor)
"""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, rank, sole_consumer, static_shape
from onnxq.quant.qdq import through_fake_quant
from onnxq.targets.target import Target

__all__ = ["LINEAR", "Operands", "bias_add", "bias_stays_float", "gemm_add", "operands", "weight_axis"]

LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that multiply by a weight and accumulate: 8-bit operands, 32-bit sums."""

_EVERY_INPUT = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Concat", "MatMul"})
_WEIGHT_ONLY = frozenset({"Conv", "ConvTranspose"})


@dataclass(frozen=True)
class Operands:
    """Indices into a node's inputs: ``data`` are activations, ``weight`` and ``bias`` constants."""

    data: tuple[int, ...]
    weight: int | None = None
    bias: int | None = None


def operands(node: ir.Node) -> Operands:
    """How a node uses its inputs. Inputs in neither role (bounds, axes, sizes) stay as they are.

    Of Gemm and MatMul the second input is the weight where it is constant, else a second activation.
    """
    if is_op(node, *LINEAR):
        weighted = is_op(node, *_WEIGHT_ONLY) or constant(through_fake_quant(get_input(node, 1))) is not None
        bias = 2 if not is_op(node, "MatMul") and get_input(node, 2) is not None else None
        return Operands((0,), 1, bias) if weighted else Operands((0, 1), None, bias)
    if is_op(node, "Where"):
        return Operands((1, 2))
    if is_op(node, *_EVERY_INPUT):
        return Operands(tuple(i for i, value in enumerate(node.inputs) if value is not None))
    return Operands((0,))


def weight_axis(node: ir.Node, rank: int) -> int | None:
    """The axis of a linear node's weight along which its output channels lie; None where there is none."""
    if is_op(node, "Conv"):
        return 0
    if is_op(node, "ConvTranspose"):
        return 1
    if is_op(node, "Gemm"):
        return 0 if node.attributes.get_int("transB", 0) else 1
    return 1 if is_op(node, "MatMul") and rank == 2 else None


def bias_add(matmul: ir.Node) -> ir.Node | None:
    """The Add right behind ``MatMul(x, W)`` that gives each output channel a constant, else None."""
    weight = constant(through_fake_quant(get_input(matmul, 1)))
    add = sole_consumer(matmul.outputs[0], "Add") if is_op(matmul, "MatMul") else None
    if add is None or weight is None or weight.ndim != 2:
        return None
    other = add.inputs[1] if add.inputs[0] is matmul.outputs[0] else add.inputs[0]
    bias = constant(through_fake_quant(other))
    if bias is not None and bias.ndim > (rank(matmul.outputs[0]) or bias.ndim):
        return None
    return add if bias is not None and bias.shape[-1:] == (weight.shape[1],) == (bias.size,) else None


def gemm_add(matmul: ir.Node) -> ir.Node | None:
    """The Add that ONNX Runtime joins with a MatMul to a Gemm, else None; it needs known shapes for that."""
    add = sole_consumer(matmul.outputs[0], "Add") if is_op(matmul, "MatMul") else None
    if add is None:
        return None
    bias = add.inputs[1] if add.inputs[0] is matmul.outputs[0] else add.inputs[0]
    columns, width = static_shape(get_input(matmul, 1)), static_shape(bias)
    if columns is None or len(columns) != 2 or width is None:
        return None
    if rank(matmul.inputs[0]) == 2:
        return add if width in ((columns[1],), (1, columns[1])) else None
    return add if static_shape(matmul.inputs[0]) is not None and width == (columns[1],) else None


def merging_add(value: ir.Value, target: Target) -> ir.Node | None:
    """The Add of two computed values of one shape that takes in the sums before it, unrounded, else None.

    It alone reads ``value``, and the operator that makes it is in the target's ``fuse_sum``.
    """
    add = sole_consumer(value, "Add") if is_op(value.producer(), *target.fuse_sum) else None
    other = None if add is None else other_operand(add, value)
    if other is None or constant(other) is not None:
        return None
    return add if value.shape is not None and value.shape == other.shape else None


def other_operand(add: ir.Node, value: ir.Value) -> ir.Value | None:
    """What an Add has besides ``value``."""
    return add.inputs[1] if add.inputs[0] is value else add.inputs[0]


def bias_stays_float(node: ir.Node, target: Target) -> bool:
    """Whether the bias of a linear operator gets no int32 codes.

    ONNX Runtime adds the bias of a MatMul that becomes no Gemm as float: it would dequantize codes each time.
    """
    joins = target.engine != "onnxruntime-cpu" or bias_add(node) is None or gemm_add(node) is not None
    return target.bias == "float32" or not joins
