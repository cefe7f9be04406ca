"""Functions of one tensor as a table with an entry for each of its codes: 256, or 65,536.

    y = Gather(T, Cast<i32>(x))        T[q] = Q(f((q − z_x)·s_x))

f is whatever elementwise nodes lie between a DequantizeLinear and a QuantizeLinear: one activation, or a
small graph such as x·Sigmoid(x). ONNX Runtime computes it on all codes, so the table is the Q/DQ graph's
own answer, of 16 bits too. A code of int8 counts from the end of the table where it is negative, as Gather
defines.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.match import constant, producer, rank
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize import cast
from onnxq.passes.lowering.integer.operand import Operand, Operands, Refused, real_constant
from onnxq.quant.qparams import QParams
from onnxq.runtime import Session

__all__ = ["Function", "all_codes", "gather", "image", "read_function", "rescale", "tabulate"]

ELEMENTWISE = frozenset(
    {
        "Abs",
        "Acos",
        "Acosh",
        "Add",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Cosh",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "FastGelu",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Log",
        "Max",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "PRelu",
        "Pow",
        "QuickGelu",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Sub",
        "Swish",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
    }
)


@dataclass(frozen=True, eq=False)
class Function:
    """Elementwise nodes, in order, that make ``value`` from one integer tensor and constants."""

    operand: Operand
    nodes: Sequence[ir.Node]
    sources: Sequence[ir.Value]
    constants: Sequence[tuple[ir.Value, FloatArray]]
    value: ir.Value


def read_function(value: ir.Value, operands: Operands) -> Function | None:
    """The elementwise graph behind a value, if it depends on one per-tensor operand and single numbers."""
    nodes: list[ir.Node] = []
    variables: dict[ir.Value, Operand] = {}
    numbers: dict[ir.Value, FloatArray] = {}
    seen: set[ir.Value] = set()
    stack: list[tuple[ir.Value, ir.Node | None]] = [(value, None)]
    while stack:
        current, done = stack.pop()
        if done is not None:
            nodes.append(done)
            continue
        if current in seen:
            continue
        seen.add(current)
        if (number := _number(current, operands)) is not None:
            numbers[current] = number
        elif (operand := operands.get(current)) is not None:
            variables[current] = operand
        elif (node := producer(current)) is None or node.op_type not in ELEMENTWISE or len(node.outputs) != 1:
            return None
        else:
            stack.append((current, node))
            stack += [(v, None) for v in reversed(node.inputs) if v is not None]
    return _function(value, nodes, variables, numbers)


def rescale(operand: Operand, output: QParams) -> IntArray:
    """The table that rounds an operand's values to other parameters."""
    operand.require_codes(f"'{operand.codes.name}'")
    codes = all_codes(operand)
    return output.quantize(operand.qparams.dequantize(codes))


def tabulate(function: Function, output: QParams, opsets: dict[str, int]) -> IntArray:
    """The codes of ``f`` for every code of its operand, in the order of Gather's index.

    Raises:
        Refused: as for :func:`image`.
    """
    with np.errstate(over="ignore"):  # numbers beyond float32 get the last code
        return output.quantize(image(function, opsets))


def image(function: Function, opsets: dict[str, int]) -> FloatArray:
    """``f`` as float32 for every code of its operand, in the order of Gather's index.

    Raises:
        Refused: ONNX Runtime cannot compute the function, or it is not a number somewhere.
    """
    operand = function.operand
    operand.require_codes(f"'{operand.codes.name}'")
    axes = max([rank(function.sources[0]) or 1, *(array.ndim for _, array in function.constants)])
    shape = [1] * (axes - 1) + [operand.levels]
    reals = operand.qparams.dequantize(all_codes(operand)).reshape(shape)
    try:
        session = Session(_model(function, reals, opsets), optimize=False, threads=1)
        (result,) = session.run({"x": reals}).values()
    except ModelError as error:
        raise Refused(f"its table of all codes cannot be computed: {error}") from error
    if result.size != operand.levels or result.dtype != np.float32 or np.isnan(result).all():
        raise Refused("it does not give one float32 number for each code of its input")
    return _extended(result.reshape(-1), operand)


def _extended(result: FloatArray, operand: Operand) -> FloatArray:
    """Codes outside of its domain, such as negative ones of Sqrt, give what the nearest inside gives."""
    inside = np.flatnonzero(~np.isnan(result))
    codes = all_codes(operand).astype(np.int64)
    order = inside[np.argsort(codes[inside])]
    place = np.searchsorted(codes[order], codes).clip(0, len(order) - 1)
    before, after = order[np.maximum(place - 1, 0)], order[place]
    nearest = np.where(np.abs(codes - codes[before]) < np.abs(codes - codes[after]), before, after)
    extended: FloatArray = result[nearest]
    return extended


def gather(rw: Rewriter, operand: Operand, table: IntArray) -> ir.Value:
    """Prepare the nodes that replace each code by its entry in a table; of the operand's shape."""
    index = cast(rw, operand.codes, ir.DataType.INT32)
    values = rw.const(table, f"{operand.codes.name or 'codes'}_table")
    return rw.op("Gather", [values, index], {"axis": 0}, like=operand.codes, dtype=values.dtype)


def _number(value: ir.Value, operands: Operands) -> FloatArray | None:
    array = constant(value)
    if array is None:
        array = real_constant(value, operands)
        array = None if array is None else array.astype(np.float32)
    return array if array is not None and array.size == 1 else None


def _function(
    value: ir.Value,
    nodes: Sequence[ir.Node],
    variables: dict[ir.Value, Operand],
    numbers: dict[ir.Value, FloatArray],
) -> Function | None:
    if not variables or not nodes:
        return None
    first = next(iter(variables.values()))
    if not first.per_tensor or first.array is not None:
        return None
    if any(o.codes is not first.codes or not o.qparams.same_as(first.qparams) for o in variables.values()):
        return None
    axes = rank(next(iter(variables)))
    if any(array.ndim > (1 if axes is None else max(axes, 1)) for array in numbers.values()):
        return None
    return Function(first, nodes, list(variables), list(numbers.items()), value)


def all_codes(operand: Operand) -> IntArray:
    """All codes of an operand: 0 … 127, −128 … −1 for int8, 0 … 255 for uint8, and so on for 16 bits."""
    return np.arange(operand.levels).astype(operand.qparams.format.dtype)


def _model(function: Function, reals: FloatArray, opsets: dict[str, int]) -> ir.Model:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(reals.shape))
    copies: dict[ir.Value, ir.Value] = dict.fromkeys(function.sources, x)
    initializers: list[ir.Value] = []
    for i, (value, array) in enumerate(function.constants):
        tensor = ir.tensor(array, name=f"c{i}")
        copies[value] = ir.Value(
            name=f"c{i}",
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        initializers.append(copies[value])
    nodes: list[ir.Node] = []
    for i, node in enumerate(function.nodes):
        inputs = [None if value is None else copies[value] for value in node.inputs]
        copy = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()))
        copy.outputs[0].name = f"v{i}"
        copies[node.outputs[0]] = copy.outputs[0]
        nodes.append(copy)
    y = copies[function.value]
    y.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x], [y], nodes=nodes, initializers=initializers, opset_imports=dict(opsets), name="table"
    )
    return ir.Model(graph, ir_version=8)
