"""Attention masks in front of a Softmax: which elements take no part.

    softmax(x + m)               m is 0 where it shows an element, and far below zero where it hides one
    softmax(Where(c, x, −inf))   a mask by itself

In units of x's scale, a mask is added to the codes of x as int32, or takes their place. A difference of 256
codes or more leaves nothing of an exponential. Where all of a row is hidden, all is as without mask, as it
should be. A mask is a constant, a table of an 8-bit tensor, or chosen by booleans; it may be reshaped.
"""

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, is_op, producer
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize import cast
from onnxq.passes.lowering.integer.functions.lookup import all_codes, gather, image, read_function
from onnxq.passes.lowering.integer.operand import CODE_BITS, Operand, Refused, real_constant
from onnxq.passes.lowering.integer.region import Region
from onnxq.passes.lowering.integer.wide import require_bits

__all__ = ["LIMIT", "is_masked", "masked_input"]

INT32 = ir.DataType.INT32

LIMIT = 2**22
"""Codes that the strongest mask adds or takes away; of 16-bit codes 128 times as many, as int32 holds."""

VANISHING = 16.0
"""e^-16 is less than half of 2^-22, the smallest unit of the exponentials."""

_MOVES = ("Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Slice", "Identity")


def masked_input(region: Region, rw: Rewriter) -> tuple[Operand, ir.Value]:
    """What a Softmax reads: an 8-bit operand, and its codes as int32, hidden ones far lower.

    Raises:
        Refused: it reads a float that is no operand with a mask.
    """
    value, node = get_input(region.node, 0), producer(region.node, 0)
    if value is None or node is None or region.operands.get(value) is not None:
        operand = region.activation(0)
        return operand, cast(rw, operand.codes, INT32)
    if not is_op(node, "Add", "Where"):
        raise Refused("what it reads is float, and neither Add nor Where makes it; put a Q/DQ pair there")
    for index in (0, 1) if is_op(node, "Add") else (1, 2):
        scores = node.inputs[index]
        x = None if scores is None else region.operands.get(scores)
        if x is None or x.array is not None:
            continue
        x.require_codes("what it masks")
        require_bits("what it masks", x.qparams, region.profile)
        masked = _Masking(region, rw, x).of(node, index)
        if masked is not None:
            return x, masked
    raise Refused(
        "a float is added to its input that is no mask: its values are too close together to hide anything"
    )


def is_masked(wide: ir.Value) -> bool:
    """Whether there are codes far below those of the operand."""
    return not is_op(wide.producer(), "Cast")


class _Masking:
    """Writes the masks of one operand in units of its scale, as int32."""

    def __init__(self, region: Region, rw: Rewriter, x: Operand) -> None:
        self.region, self.rw, self.x = region, rw, x

    def of(self, node: ir.Node, index: int) -> ir.Value | None:
        """The masked codes; ``index`` is the input of ``node`` that the operand stands for."""
        wide, shape = cast(self.rw, self.x.codes, INT32), node.outputs[0].shape
        if is_op(node, "Add"):
            mask = self._steps(node.inputs[1 - index])
            return None if mask is None else self.rw.op("Add", [wide, mask], dtype=INT32, shape=shape)
        other = real_constant(node.inputs[3 - index], self.region.operands)
        if other is None or other.size != 1:
            return None
        low = self.x.scale * (self.x.high + self.x.levels)
        if float(other.reshape(())) > -low:
            return None
        hidden = self._const(other.reshape(()))
        branches = [wide, hidden] if index == 1 else [hidden, wide]
        return self.rw.op("Where", [node.inputs[0], *branches], dtype=INT32, shape=shape)

    def _steps(self, bias: ir.Value | None) -> ir.Value | None:
        """A mask as int32; None where a value is none."""
        if bias is None:
            return None
        constant = real_constant(bias, self.region.operands)
        if constant is not None:
            return self._const(constant) if self._hides(constant) else None
        node = producer(bias)
        if is_op(node, "Where") and node is not None:
            return self._chosen(node)
        if (found := self._table(bias)) is not None:
            return gather(self.rw, found[0], self._rounded(found[1])) if self._hides(found[1]) else None
        inner = self._steps(node.inputs[0]) if node is not None and is_op(node, *_MOVES) else None
        if node is None or inner is None:
            return None
        return self.rw.op(node.op_type, [inner, *node.inputs[1:]], node.attributes, like=bias, dtype=INT32)

    def _chosen(self, node: ir.Node) -> ir.Value | None:
        branches = [branch for value in node.inputs[1:] if (branch := self._branch(value)) is not None]
        if len(branches) < 2 or not self._hides(np.concatenate([reals for _, reals in branches])):
            return None
        codes = [branch for branch, _ in branches]
        return self.rw.op("Where", [node.inputs[0], *codes], like=node.outputs[0], dtype=INT32)

    def _branch(self, value: ir.Value | None) -> tuple[ir.Value, FloatArray] | None:
        """A constant or a table in steps of x, and the real numbers that it can be."""
        constant = real_constant(value, self.region.operands)
        if constant is not None:
            return self._const(constant), constant.reshape(-1)
        found = None if value is None else self._table(value)
        return None if found is None else (gather(self.rw, found[0], self._rounded(found[1])), found[1])

    def _table(self, bias: ir.Value) -> tuple[Operand, FloatArray] | None:
        """The 8-bit operand behind a float, and the float for each of its codes."""
        operands = self.region.operands
        if (operand := operands.get(bias)) is not None:
            if not operand.per_tensor or operand.qparams.format.bits not in CODE_BITS:
                return None
            return operand, operand.qparams.dequantize(all_codes(operand))
        function = read_function(bias, operands)
        return None if function is None else (function.operand, image(function, self.rw.model.opset_imports))

    def _const(self, real: FloatArray) -> ir.Value:
        return self.rw.const(self._rounded(real), f"{self.x.codes.name or 'codes'}_mask")

    def _rounded(self, real: FloatArray) -> IntArray:
        limit = LIMIT * 128 if self.x.wide else LIMIT
        steps = np.rint(np.clip(real / self.x.scale, -limit, limit))
        rounded: IntArray = steps.astype(np.int32)
        return rounded

    def _hides(self, bias: FloatArray) -> bool:
        """Whether it hides something. A bias that only shifts weights would suffer from whole codes of x."""
        return (
            self.x.per_tensor
            and float(np.ptp(np.maximum(bias, -1e30))) > (self.x.levels - 1) * self.x.scale + VANISHING
        )
