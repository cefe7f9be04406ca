"""Comparisons of floats, and Cast to boolean: their answers follow from the codes.

    x > c      Gather(T, q),  T[q] = (q − z)·s > c                   a number c: a table of booleans
    a > b      M_a·(q_a − z_a) > M_b·(q_b − z_b)                     M = s/max(s_a, s_b)·2^22 as int32,
                                                                     of 16-bit codes 2^40 as int64
    bool(x)    T[q] = (q != z)

Of equal scales and zero points the codes themselves are compared.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, is_op, rank
from onnxq.graph.numeric import Array, FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.arithmetic import Arithmetic
from onnxq.passes.lowering.integer.emit.requantize import cast
from onnxq.passes.lowering.integer.functions.lookup import all_codes
from onnxq.passes.lowering.integer.linear.product import centered
from onnxq.passes.lowering.integer.operand import CODE_BITS, Operand, Operands

__all__ = ["COMPARISONS", "lower_comparison"]

COMPARISONS: Mapping[str, Callable[[FloatArray, Array], Array]] = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}
BITS, WIDE_BITS = 22, 40
"""With 9 bits of codes the products fit int32, with 17 int64."""


def lower_comparison(node: ir.Node, operands: Operands, rw: Rewriter) -> ir.Value | None:
    """Prepare the same answer from codes; None where it reads floats that no 8-bit tensors stand for."""
    found = [_operand(value, operands) for value in node.inputs]
    if is_op(node, "Cast"):
        x = found[0] if node.outputs[0].dtype == ir.DataType.BOOL else None
        return None if x is None else _table(rw, node, x, np.not_equal(_reals(x), 0))
    a, b = found
    if a is not None and b is not None:
        return _both(rw, node, a, b)
    x, other = (a, node.inputs[1]) if a is not None else (b, node.inputs[0])
    number = constant(other)
    if x is None or number is None or number.size != 1 or number.ndim > (rank(x.codes) or 0):
        return None
    sides = (_reals(x), number.reshape(()))
    answer = COMPARISONS[node.op_type](*(sides if a is not None else sides[::-1]))
    return _table(rw, node, x, answer)


def _operand(value: ir.Value | None, operands: Operands) -> Operand | None:
    found = None if value is None else operands.get(value)
    usable = found is not None and found.per_tensor and found.qparams.format.bits in CODE_BITS
    return found if usable and found is not None and found.array is None else None


def _reals(x: Operand) -> FloatArray:
    return x.qparams.dequantize(all_codes(x))


def _table(rw: Rewriter, node: ir.Node, x: Operand, answer: Array) -> ir.Value:
    table = rw.const(answer, f"{node.outputs[0].name or 'answer'}_table")
    index = cast(rw, x.codes, ir.DataType.INT32)
    return rw.op("Gather", [table, index], {"axis": 0}, like=node.outputs[0], dtype=ir.DataType.BOOL)


def _both(rw: Rewriter, node: ir.Node, a: Operand, b: Operand) -> ir.Value:
    sides = [cast(rw, x.codes, ir.DataType.INT32) for x in (a, b)]
    if not a.qparams.same_as(b.qparams):
        word, bits = (ir.DataType.INT64, WIDE_BITS) if a.wide or b.wide else (ir.DataType.INT32, BITS)
        work = Arithmetic(rw, node.outputs[0].name or "answer", word)
        unit = 2.0**bits / max(a.scale, b.scale)
        sides = [work.op("Mul", cast(rw, centered(rw, x), word), round(x.scale * unit)) for x in (a, b)]
    return rw.op(node.op_type, sides, like=node.outputs[0], dtype=ir.DataType.BOOL)
