"""What ONNX Runtime does to Q/DQ before it fuses: carry pairs across moving operators, make int8 uint8.

1. Behind a DequantizeLinear, operators that only move values get the same pair again behind them; in front of
   a QuantizeLinear the same backwards. So a file that has no pair behind a Reshape still runs on codes.
2. On x86 codes of int8 become uint8 where a QuantizeLinear feeds one DequantizeLinear with one reader.
   Elsewhere they stay int8, and operators between the two kinds of codes are lost. Weights stay int8.

Source: onnxruntime/core/optimizer/qdq_transformer: qdq_propagation.cc, qdq_s8_to_u8.cc.
"""

from dataclasses import replace

import onnx_ir as ir

from onnxq.evaluate.fusion.view import Codes, View
from onnxq.graph.match import consumers, is_op, producer

__all__ = ["Signs", "carry_pairs"]

_CARRIED = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice")
_MAXPOOL_OPSETS = range(12, 22)


def carry_pairs(view: View, opset: int) -> None:
    """Note the pairs that ONNX Runtime adds."""
    carrying = (*_CARRIED, "MaxPool") if opset in _MAXPOOL_OPSETS else _CARRIED
    for node, codes in view.dequantizers():
        if codes.is_scalar and not node.outputs[0].is_graph_output():
            _forward(view, node.outputs[0], codes, carrying)
    for node, codes in view.quantizers():
        if codes.is_scalar:
            _backward(view, node.inputs[0], codes, carrying)


def _forward(view: View, start: ir.Value, codes: Codes, carrying: tuple[str, ...]) -> None:
    stack = [start]
    while stack:
        for reader in view.float_readers(stack.pop()):
            if not is_op(reader, *carrying):
                continue
            result = reader.outputs[0]
            readers = view.float_readers(result)
            ends = result.is_graph_output() and not consumers(result)
            if view.is_carried(result) or not (ends or (readers and not result.is_graph_output())):
                continue
            view.carry(result, codes)
            stack.append(result)


def _backward(view: View, value: ir.Value | None, codes: Codes, carrying: tuple[str, ...]) -> None:
    while value is not None and len(list(value.uses())) == 1 and not value.is_graph_output():
        maker = producer(value)
        source = maker.inputs[0] if maker is not None and is_op(maker, *carrying) else None
        if source is None or len(list(source.uses())) != 1 or source.is_graph_output():
            return
        if view.read(source) is not None:
            return
        view.carry(source, codes)
        value = source


class Signs:
    """The dtype of codes after int8 has become uint8 where that is possible; ``int8`` allows it to stay."""

    def __init__(self, view: View, *, int8_allowed: bool) -> None:
        self._view, self._allowed = view, int8_allowed

    def of(self, codes: Codes) -> Codes:
        """The codes as the fusions meet them."""
        if self._allowed or codes.dtype != "int8":
            return codes
        return replace(codes, dtype="uint8") if self._feeds_one_reader(codes.pair) else codes

    def alone(self, codes: Codes) -> Codes:
        """The codes of a pair that the runtime itself puts behind them, with one reader."""
        turned = codes.dtype == "int8" and not self._allowed
        return replace(codes, dtype="uint8") if turned else codes

    def _feeds_one_reader(self, pair: ir.Value) -> bool:
        if not is_op(producer(pair), "QuantizeLinear"):
            return False
        readers = consumers(pair)
        if pair.is_graph_output() or not all(is_op(reader, "DequantizeLinear") for reader in readers):
            return False
        outputs = [reader.outputs[0] for reader in readers]
        uses = sum(max(1, len(list(output.uses())) + output.is_graph_output()) for output in outputs)
        return uses == 1
