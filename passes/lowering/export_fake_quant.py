"""Q/DQ as the fake-quantizers of QONNX and OpenVINO."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.passes.lowering.fake_quant import openvino, qonnx
from onnxq.passes.lowering.fake_quant.reading import FakeQuant, Refused, read_fake_quant
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["Dialect", "ExportFakeQuant"]

Writer = Callable[[FakeQuant, Rewriter], ir.Value]


class Dialect(StrEnum):
    """What Q/DQ becomes."""

    QONNX = "qonnx"
    OPENVINO = "openvino"


_DIALECTS: Mapping[Dialect, tuple[str, Writer]] = {
    Dialect.QONNX: (qonnx.DOMAIN, qonnx.write),
    Dialect.OPENVINO: (openvino.DOMAIN, openvino.write),
}


@dataclass(frozen=True)
class ExportFakeQuant(Pass):
    """Write Q/DQ pairs and quantized constants as QONNX Quant or OpenVINO FakeQuantize.

           x → [Clip] → QuantizeLinear → DequantizeLinear      =>  Quant(x, s, z, bits)
           DequantizeLinear(W_q, s, z)                         =>  FakeQuantize(W, low, high, low, high)

    ``dialect`` is ``qonnx`` (Brevitas, FINN, hls4ml) or ``openvino`` (OpenVINO, NNCF); the algebra stands in
    ``passes/lowering/fake_quant``. import-fake-quant turns the result into the same codes again. Pairs that
    the dialect cannot say stay as Q/DQ, with the reason: float formats, dynamic scales, biases in OpenVINO,
    codes that something else than a DequantizeLinear reads. ONNX Runtime does not run the result.
    """

    name: ClassVar[str] = "export-fake-quant"
    contract: ClassVar[Contract] = Contract.INTEGER_EXACT

    dialect: Dialect = Dialect.QONNX

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        domain, write = _DIALECTS[self.dialect]
        for node in all_nodes(rw.model):
            if not is_op(node, "DequantizeLinear"):
                continue
            try:
                fake = read_fake_quant(node)
                rw.replace(list(fake.nodes), write(fake, rw))
            except Refused as refusal:
                rw.skip(node, str(refusal))
        if rw.edits:
            rw.model.opset_imports[domain] = 1
