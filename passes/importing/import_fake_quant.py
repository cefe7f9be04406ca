"""Every dialect of fake quantization becomes Q/DQ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxq.errors import OnnxqError, PassError
from onnxq.graph.match import is_op
from onnxq.graph.rewriter import Rewriter, describe
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.fake_quant import (
    decomposed,
    integer_product,
    native,
    openvino,
    pytorch,
    qonnx,
    qoperator,
    tensorflow,
)
from onnxq.passes.importing.fake_quant.parameters import EVALUATED, Refused, opset
from onnxq.passes.importing.fake_quant.quantizer import OPSET_AXIS
from onnxq.passes.importing.raise_opset import RaiseOpset
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["ImportFakeQuant"]

Recogniser = Callable[[ir.Node, Rewriter], None]

_STANDARD: Mapping[str, Recogniser] = {
    **native.OPERATORS,
    **qoperator.OPERATORS,
    **integer_product.OPERATORS,
    "Round": decomposed.round_chain,
}
_MICROSOFT: Mapping[str, Recogniser] = {**native.OPERATORS, **qoperator.MICROSOFT}
_ANYWHERE: Mapping[str, Recogniser] = {
    **openvino.OPERATORS,
    **tensorflow.OPERATORS,
    **pytorch.OPERATORS,
    "ATen": pytorch.aten,
}
"""Operators whose names are unmistakable: converters put them into domains of their own."""

_RUN_BY_ORT = frozenset({"com.microsoft", "com.microsoft.nchwc", "ai.onnx.ml", "ai.onnx.preview.training"})


@dataclass(frozen=True)
class ImportFakeQuant(Pass):
    """Turn the fake-quantizers of every training framework into QuantizeLinear/DequantizeLinear.

           x → Quant, FakeQuantize, FakeQuantWithMinMax…, fake_quantize_…, Div·Round·Clip·Mul → y
        => x → [Clip] → QuantizeLinear → DequantizeLinear → y
           QLinearConv, QLinearAdd, ConvInteger·Cast·Mul …
        => DequantizeLinear → Conv, Add … → QuantizeLinear

    Trained ranges are kept to the bit: y is the same number for every x, in codes of the next wider type
    that ONNX has (3 bits in int8, say), with a Clip for what the type could hold beyond. Quantized constants
    become their codes, rounded by the dialect's own rule. Each dialect's algebra stands in its file in
    ``passes/importing/fake_quant``: native (Q/DQ itself, normalised), qonnx, openvino, tensorflow, pytorch,
    decomposed (LSQ, PACT, DoReFa), qoperator and integer_product.

    What cannot be held exactly (a zero point between two codes, more than 8 bits below opset 21) is kept and
    named with the reason; so is every other operator of an unknown domain. Runs before constants are folded,
    which would leave quantized weights as plain floats. A file of a dialect of its own that is older than
    opset 13 is raised first, by raise-opset: QONNX is often written at opset 9, which has no Q/DQ. Domains
    that nobody uses any more are dropped from the model.
    """

    name: ClassVar[str] = "import-fake-quant"
    contract: ClassVar[Contract] = Contract.INTEGER_EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        if opset(rw) < OPSET_AXIS and any(map(_is_dialect, all_nodes(rw.model))):
            RaiseOpset().apply(rw, context)
        own = {(f.domain, f.name) for f in rw.model.functions.values()}
        before = _domains(rw.model)
        idle = {node for node in all_nodes(rw.model) if _is_unread(node)}
        for node in all_nodes(rw.model):
            if node.graph is None:
                continue
            recogniser = _find(node)
            if recogniser is not None:
                _recognise(recogniser, node, rw)
            elif _is_foreign(node) and (node.domain, node.op_type) not in own:
                rw.skip(node, f"{node.domain}::{node.op_type} is an unknown operator: it is kept as it is")
        _sweep(rw, idle)
        _drop_domains(rw, before)


def _is_dialect(node: ir.Node) -> bool:
    """Whether a node is a fake-quantizer of a domain of its own."""
    return _find(node) is not None and node.domain not in ("", "ai.onnx", "com.microsoft")


def _find(node: ir.Node) -> Recogniser | None:
    if node.domain in qonnx.DOMAINS:
        return qonnx.OPERATORS.get(node.op_type)
    if node.domain == "com.microsoft":
        return _MICROSOFT.get(node.op_type)
    standard = _STANDARD.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return standard or _ANYWHERE.get(node.op_type)


def _recognise(recogniser: Recogniser, node: ir.Node, rw: Rewriter) -> None:
    try:
        recogniser(node, rw)
    except Refused as refusal:
        rw.skip(node, str(refusal))
    except OnnxqError:
        raise
    except Exception as error:
        raise PassError(f"import-fake-quant failed at {describe(node)}: {error}") from error
    rw.discard()


def _is_unread(node: ir.Node) -> bool:
    return not any(output.uses() or output.is_graph_output() for output in node.outputs)


def _sweep(rw: Rewriter, idle: set[ir.Node]) -> None:
    """Remove what only computed parameters, from the end on, but nothing that was idle before."""
    for node in reversed(list(all_nodes(rw.model))) if rw.edits else ():
        if is_op(node, *EVALUATED) and node not in idle and _is_unread(node):
            rw.remove(node)


def _is_foreign(node: ir.Node) -> bool:
    return node.domain not in _RUN_BY_ORT and node.domain not in ("", "ai.onnx")


def _drop_domains(rw: Rewriter, before: set[str]) -> None:
    """Forget the domains of which nothing is left: a reader of the file would look for their operators."""
    gone = before - _domains(rw.model)
    for domain in gone & rw.model.opset_imports.keys():
        del rw.model.opset_imports[domain]


def _domains(model: ir.Model) -> set[str]:
    used = {node.domain for node in all_nodes(model)} | {f.domain for f in model.functions.values()}
    return used - {"", "ai.onnx"}
