"""A Q/DQ graph as a runtime's fusions see it: which codes stand for a value where it is read and written.

An edge into a node carries codes if a DequantizeLinear made it; a result becomes codes if a QuantizeLinear
reads it. Runtimes also carry Q/DQ pairs across operators that only move values: such pairs are noted here as
if they were in the graph.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxq.graph.match import constant, consumers, get_input, is_op
from onnxq.graph.scopes import all_nodes
from onnxq.quant.qdq import qparams_of
from onnxq.quant.qparams import QParams

__all__ = ["Codes", "View", "tidied"]


def tidied(model: ir.Model) -> ir.Model:
    """A copy with inferred shapes in which nobody reads an Identity: some hide zero points behind them."""
    copy = model.clone()
    for node in all_nodes(copy):
        source = node.inputs[0] if is_op(node, "Identity") else None
        if source is not None and not node.outputs[0].is_graph_output():
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
    return ShapeInferencePass()(copy).model


@dataclass(frozen=True, eq=False)
class Codes:
    """The coding of one value at one place.

    ``dtype`` is that of the codes, such as ``uint8``; ``qparams`` are None where scale or zero point are no
    constants that onnxq reads. ``pair`` is the value that holds the codes, which tells pairs apart.
    """

    dtype: str
    qparams: QParams | None
    explicit: bool
    pair: ir.Value

    @property
    def is_scalar(self) -> bool:
        """One constant scale and zero point for the whole tensor."""
        return self.qparams is not None and self.qparams.axis is None

    def same_as(self, other: "Codes") -> bool:
        """Whether both give every code the same meaning, zero points written out."""
        if self.qparams is None or other.qparams is None or not (self.explicit and other.explicit):
            return False
        return self.qparams.same_as(other.qparams)


class View:
    """The codings of a model. Pairs that are carried on are added with :meth:`carry`."""

    def __init__(self, model: ir.Model) -> None:
        self.nodes = [node for node in all_nodes(model) if not is_op(node, "Constant")]
        self._read: dict[ir.Value, Codes] = {}
        self._written: dict[ir.Value, list[Codes]] = defaultdict(list)
        self._carried: set[ir.Value] = set()
        for node in self.nodes:
            if is_op(node, "DequantizeLinear"):
                self._read[node.outputs[0]] = _codes(node, node.inputs[0])
            elif is_op(node, "QuantizeLinear") and node.inputs[0] is not None:
                self._written[node.inputs[0]].append(_codes(node, node.outputs[0]))

    def read(self, value: ir.Value | None) -> Codes | None:
        """How a value is coded for the nodes that read it as float."""
        return None if value is None else self._read.get(value)

    def written(self, value: ir.Value) -> list[Codes]:
        """The codes that QuantizeLinear nodes make of a value."""
        return self._written.get(value, [])

    def carry(self, value: ir.Value, codes: Codes) -> None:
        """Note a pair behind ``value``: its float readers read the dequantized value."""
        self._written[value].append(codes)
        self._read[value] = codes
        self._carried.add(value)

    def is_carried(self, value: ir.Value) -> bool:
        return value in self._carried

    def edges(self, value: ir.Value) -> int:
        """How many edges leave a value; all float readers behind a carried pair share one."""
        quantizers = sum(is_op(use.node, "QuantizeLinear") for use in value.uses())
        others = len(list(value.uses())) - quantizers
        return quantizers + 1 if value in self._carried else quantizers + others

    def float_readers(self, value: ir.Value) -> list[ir.Node]:
        """The nodes that read a value and are no QuantizeLinear."""
        return [node for node in consumers(value) if not is_op(node, "QuantizeLinear")]

    def dequantizers(self) -> Iterator[tuple[ir.Node, Codes]]:
        """Each DequantizeLinear of a computed value, with its codes."""
        for node in self.nodes:
            if is_op(node, "DequantizeLinear") and constant(node.inputs[0]) is None:
                yield node, self._read[node.outputs[0]]

    def quantizers(self) -> Iterator[tuple[ir.Node, Codes]]:
        """Each QuantizeLinear with its codes."""
        for node in self.nodes:
            if is_op(node, "QuantizeLinear") and node.inputs[0] is not None:
                yield node, next(c for c in self._written[node.inputs[0]] if c.pair is node.outputs[0])

    def clamp_behind(self, value: ir.Value) -> ir.Node | None:
        """The Relu or Clip that alone reads a value and whose result goes one way only."""
        readers = consumers(value)
        if self.edges(value) != 1 or len(readers) != 1 or not is_op(readers[0], "Relu", "Clip"):
            return None
        result = readers[0].outputs[0]
        single = self.edges(result) == 1 and not result.is_graph_output()
        return readers[0] if single and readers[0].inputs[0] is value else None


def _codes(node: ir.Node, pair: ir.Value | None) -> Codes:
    assert pair is not None, "Q and DQ have a first input"
    zero_point, qparams = get_input(node, 2), qparams_of(node)
    holder = zero_point if zero_point is not None and zero_point.dtype is not None else pair
    if qparams is not None:
        dtype = qparams.format.dtype.name
    else:
        dtype = "uint8" if holder.dtype is None else holder.dtype.name.lower()
    return Codes(dtype, qparams, zero_point is not None, pair)
