"""The float model that a fake-quantized one was made of: the same graph without its Q/DQ pairs."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import is_op, producer
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes

__all__ = ["Twin", "float_twin", "mark_tuned", "tuned_by"]

_MARK = "onnxq.tuned-by"


@dataclass(frozen=True, eq=False)
class Twin:
    """A float model, and which of its nodes each node of the fake-quantized one has become."""

    model: ir.Model
    nodes: Mapping[ir.Node, ir.Node]


def float_twin(model: ir.Model) -> Twin:
    """A copy in which the readers of each Q/DQ pair read what goes into it; integer constants stay."""
    twin = model.clone()
    nodes = dict(zip(all_nodes(model), all_nodes(twin), strict=True))
    rw = Rewriter(twin)
    for node in nodes.values():
        quantize = producer(node, 0, "QuantizeLinear") if is_op(node, "DequantizeLinear") else None
        source = quantize.inputs[0] if quantize is not None else None
        if quantize is not None and source is not None and rw.bypass(node, source):
            rw.remove(quantize)
    rw.finish()
    return Twin(twin, nodes)


def mark_tuned(model: ir.Model, name: str) -> None:
    """Note in the model's metadata that a pass has changed the values that its float twin is made of."""
    model.metadata_props[_MARK] = name


def tuned_by(model: ir.Model) -> str | None:
    """The pass that did; what it learned from cannot be had again."""
    return model.metadata_props.get(_MARK)
