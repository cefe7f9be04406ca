"""What lies in front of one QuantizeLinear: an operator, its bias, and the clamp behind it.

       y_q = QuantizeLinear(Clip(Add(op(x, w), b)))

A Relu or Clip in front of a QuantizeLinear only narrows the codes, since rounding keeps order:
``Q(clip(v, a, b)) = clip(Q(v), Q(a), Q(b))``, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, producer, rank
from onnxq.graph.numeric import FloatArray
from onnxq.graph.rewriter import describe
from onnxq.passes.lowering.integer.operand import Operand, Operands, Refused, real_constant
from onnxq.passes.lowering.integer.profile import DEFAULT, Profile
from onnxq.passes.lowering.integer.wide import require_bits
from onnxq.quant.fixed_point import FixedPoint, Term, fixed_point
from onnxq.quant.qparams import QParams

__all__ = ["Region", "read_region"]

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class Region:
    """An operator between integer tensors.

    ``output`` are the parameters of its result, ``low`` and ``high`` the codes that its clamp leaves.
    ``bias`` is a constant that a separate Add contributes, in real units, broadcastable to the result.
    """

    node: ir.Node
    quantize: ir.Node
    operands: Operands
    output: QParams
    low: int
    high: int
    bias: FloatArray | None = None
    profile: Profile = DEFAULT

    @property
    def result(self) -> ir.Value:
        """The codes of the Q/DQ graph; the integer graph's take over name, shape and type."""
        return self.quantize.outputs[0]

    @property
    def where(self) -> str:
        """The operator's name for messages."""
        return describe(self.node)

    @property
    def scale(self) -> float:
        """The scale of the result."""
        return float(self.output.scale.reshape(-1)[0])

    @property
    def narrow(self) -> bool:
        """Whether words of 32 bits do, if nothing is lost by them: their window is for codes of 8 bits."""
        return self.output.format.bits == 8

    @property
    def zero_point(self) -> int:
        """The zero point of the result."""
        return int(self.output.zero_point.reshape(-1)[0])

    def fixed_point(
        self, terms: Sequence[Term], constant: FloatArray | None = None, *, narrow: bool = False
    ) -> FixedPoint:
        """The integers that make codes of the result from ``terms``; raises as :func:`fixed_point` does."""
        return fixed_point(
            terms, self.zero_point, self.low, self.high, constant=constant, narrow=narrow, where=self.where
        )

    def has(self, index: int) -> bool:
        """Whether the operator has an input at ``index``."""
        return get_input(self.node, index) is not None

    def operand(self, index: int) -> Operand:
        """The integer tensor behind an input.

        Raises:
            Refused: there is none, because the value comes from no DequantizeLinear.
        """
        value = get_input(self.node, index)
        if value is not None and (operand := self.operands.get(value)) is not None:
            return operand
        name = value.name if value is not None else f"number {index}"
        raise Refused(f"its input '{name}' is float: no DequantizeLinear makes it; put a Q/DQ pair there")

    def activation(self, index: int) -> Operand:
        """An operand of 8 or 16 bits with one scale.

        Raises:
            Refused: it is none.
        """
        operand = self.operand(index)
        what = f"its input '{self.node.inputs[index].name}'"  # type: ignore[union-attr]
        operand.require_codes(what)
        require_bits(what, operand.qparams, self.profile)
        return operand

    def constant(self, index: int) -> FloatArray | None:
        """The real numbers of a constant input, float64."""
        return real_constant(get_input(self.node, index), self.operands)


def read_region(quantize: ir.Node, output: QParams, operands: Operands, profile: Profile = DEFAULT) -> Region:
    """The operator whose result a QuantizeLinear rounds, with bias and clamp.

    Raises:
        Refused: no node makes the value.
    """
    node, low, high = _clamped(quantize, output)
    node, bias = _biased(node, operands)
    return Region(node, quantize, operands, output, low, high, bias, profile)


def _clamped(quantize: ir.Node, output: QParams) -> tuple[ir.Node, int, int]:
    clamps: list[tuple[int, int]] = []
    node = producer(quantize)
    while node is not None and (bounds := _bounds(node, output)) is not None:
        clamps.append(bounds)
        node = producer(node)
    if node is None:
        source = quantize.inputs[0]
        raise Refused(f"'{source.name if source else ''}' is made by no node; quantize a computed value")
    low, high = output.format.qmin, output.format.qmax
    for least, most in reversed(clamps):
        low, high = min(max(low, least), most), min(max(high, least), most)
    return node, low, high


def _bounds(node: ir.Node, output: QParams) -> tuple[int, int] | None:
    """The codes of the bounds of a Relu, or of a Clip with constant ones."""
    if is_op(node, "Relu"):
        return _code(0.0, output), output.format.qmax
    if not is_op(node, "Clip"):
        return None
    given = [get_input(node, 1), get_input(node, 2)]
    limits = [constant(value) for value in given]
    if any(v is not None and a is None for v, a in zip(given, limits, strict=True)):
        return None
    low = output.format.qmin if limits[0] is None else _code(float(limits[0].reshape(())), output)
    high = output.format.qmax if limits[1] is None else _code(float(limits[1].reshape(())), output)
    return min(low, high), high


def _code(real: float, output: QParams) -> int:
    return int(output.quantize(np.full(output.scale.shape, real, np.float32)).reshape(-1)[0])


def _biased(node: ir.Node, operands: Operands) -> tuple[ir.Node, FloatArray | None]:
    """Behind a linear operator, an Add of a constant is its bias."""
    if not is_op(node, "Add"):
        return node, None
    for index in (0, 1):
        linear = producer(node, index, *LINEAR)
        bias = real_constant(get_input(node, 1 - index), operands)
        if linear is None or bias is None:
            continue
        if bias.ndim <= (rank(linear.outputs[0]) or bias.ndim):  # else the sum has more axes than the product
            return linear, bias
    return node, None
