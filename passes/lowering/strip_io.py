"""Let a model take and give integer codes."""

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxq.graph.match import is_float, is_op
from onnxq.graph.rewriter import Rewriter, describe
from onnxq.passes.lowering.integer.interface import lower_inputs, lower_outputs
from onnxq.passes.lowering.integer.qdq_operands import QdqOperands
from onnxq.passes.lowering.integer.walk import sweep
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.qdq import qparams_of

__all__ = ["StripIo"]


@dataclass(frozen=True)
class StripIo(Pass):
    """Take the QuantizeLinear off the inputs and the DequantizeLinear off the outputs.

           float x → QuantizeLinear(s, z) → q   =>   integer x
           q → DequantizeLinear(s, z) → float y =>   integer y

    So a device hands over codes, as its camera or its next stage has them. Names and order stay; the metadata
    ``onnxq.scale.<name>`` and ``onnxq.zero_point.<name>`` say what the codes mean: x = (code − z)·s. float-io
    is the way back.

    An input stays float where something reads it as a float too, or quantizes it otherwise; an output where
    no DequantizeLinear with one scale makes it. Each is a skip with its reason.
    """

    name: ClassVar[str] = "strip-io"
    contract: ClassVar[Contract] = Contract.INTEGER_EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        _annotate(rw.model.graph)
        for value, reason in lower_inputs(rw).items():
            rw.skip(f"input '{value.name}'", reason)
        operands = QdqOperands(rw)
        sweep(rw, lower_outputs(rw, operands))
        for value in rw.model.graph.outputs:
            if is_float(value):
                rw.skip(f"output '{value.name}'", _reason(value, operands))


def _annotate(graph: ir.Graph) -> None:
    """Types of codes that the file leaves out: an output must have one."""
    for node in graph:
        codes = node.inputs[0] if is_op(node, "DequantizeLinear") else None
        if codes is not None and codes.type is None and (qparams := qparams_of(node)) is not None:
            codes.type = ir.TensorType(qparams.format.ir_dtype)


def _reason(value: ir.Value, operands: QdqOperands) -> str:
    node = value.producer()
    if node is None:
        return "it is an input or a constant of the model"
    if node in operands.reasons:
        return operands.reasons[node]
    return f"{describe(node)} makes it as a float; put a Q/DQ pair behind it"
