"""Layers whose weights can be rounded with care: linear nodes with a float weight in front of a Q/DQ pair.

A weight of any operator is seen as a batch of matrices [groups, outputs, inputs]:

    MatMul, Gemm   1 group;  inputs are those of a row of the data
    Conv           its groups;  inputs are the elements of a window, channel by channel
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, producer, rank, sole_consumer
from onnxq.graph.numeric import Array, FloatArray
from onnxq.graph.scopes import all_nodes, subgraphs
from onnxq.quant.operators import LINEAR
from onnxq.quant.qdq import blocked_qparams_of, qparams_of
from onnxq.quant.qparams import QParams

__all__ = ["Site", "depths", "find_site", "levels", "linear_nodes"]

_MAX_INPUTS = 8192
"""Inputs of one output beyond which the matrix of their products, float64, would exceed 0.5 GB."""


@dataclass(frozen=True, eq=False)
class Site:
    """A layer: its linear ``node``, the QuantizeLinear behind its float32 ``weight``, and the parameters."""

    node: ir.Node
    quantize: ir.Node
    weight: FloatArray
    qparams: QParams

    @property
    def name(self) -> str:
        """The name of the node's output."""
        return self.node.outputs[0].name or ""

    @property
    def data(self) -> str:
        """The name of the value that the weight multiplies."""
        value = self.node.inputs[0]
        return (value.name if value is not None else None) or ""

    @property
    def groups(self) -> int:
        """Independent blocks of inputs and outputs."""
        return self.node.attributes.get_int("group", 1) if is_op(self.node, "Conv") else 1

    @property
    def outputs(self) -> int:
        """Its output channels."""
        groups, outputs, _ = self.matrices(self.weight).shape
        return int(groups * outputs)

    @property
    def real(self) -> FloatArray:
        """The weight as float64 matrices."""
        return self.matrices(self.weight).astype(np.float64)

    def matrices(self, array: Array) -> Array:
        """An array shaped like the weight as [groups, outputs, inputs]."""
        if is_op(self.node, "Conv"):
            return array.reshape(self.groups, array.shape[0] // self.groups, -1)
        return (array if self.transposed else array.T)[None]

    def layout(self, matrices: Array) -> Array:
        """The inverse of :meth:`matrices`."""
        if is_op(self.node, "Conv"):
            return matrices.reshape(self.weight.shape)
        return np.ascontiguousarray(matrices[0] if self.transposed else matrices[0].T)

    @property
    def transposed(self) -> bool:
        """Whether a matrix has a row for each output."""
        return is_op(self.node, "Gemm") and bool(self.node.attributes.get_int("transB", 0))


def linear_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """The linear nodes of all scopes whose weight is a float32 constant in front of a Q/DQ pair."""
    for node in all_nodes(model):
        if is_op(node, *LINEAR) and _fake_quantized(node) is not None:
            yield node


def find_site(node: ir.Node, model: ir.Model) -> Site | str:
    """The layer of a node from :func:`linear_nodes`, or why its weight can only be rounded to nearest."""
    found = _fake_quantized(node)
    assert found is not None, "linear_nodes gives nodes with a fake-quantized weight only"
    site = Site(node, *found)
    if node.graph is not model.graph:
        return "it is inside a body or function, whose inputs cannot be sampled layer by layer"
    if sole_consumer(found[0].outputs[0]) is None or sole_consumer(node.inputs[1] or node.outputs[0]) is None:
        return "its weight is shared by several nodes"
    if is_op(node, "ConvTranspose") or site.weight.ndim < 2 or not site.weight.size:
        return "its weight is no matrix or filter of a Conv"
    if not is_op(node, "Conv") and (site.weight.ndim != 2 or node.attributes.get_int("transA", 0) != 0):
        return "its weight is no matrix on the right of its rows"
    if rank(node.inputs[0]) == 1:
        return "its data is a vector"
    if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return "alpha and beta are not 1"
    inputs = site.matrices(site.weight).shape[2]
    if inputs > _MAX_INPUTS:
        return f"each of its outputs has {inputs} inputs, more than {_MAX_INPUTS}"
    return site


def depths(model: ir.Model, sites: list[Site]) -> dict[ir.Value, int]:
    """How many of the sites lie on the longest way to each value of the main graph, none at those missing."""
    layers = {site.node for site in sites}
    depth: dict[ir.Value, int] = {}
    for node in model.graph:
        level = max((depth.get(value, 0) for value in _reads(node)), default=0) + (node in layers)
        if level:
            depth.update(dict.fromkeys(node.outputs, level))
    return depth


def levels(sites: list[Site], depth: dict[ir.Value, int]) -> list[list[Site]]:
    """The sites in groups, so that none depends on another of its group; in the order of the graph."""
    grouped: dict[int, list[Site]] = {}
    for site in sites:
        grouped.setdefault(depth[site.node.outputs[0]], []).append(site)
    return [grouped[level] for level in sorted(grouped)]


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """The values a node reads, bodies included."""
    yield from (value for value in node.inputs if value is not None)
    for _, body in subgraphs(node):
        for inner in body.all_nodes():
            yield from (value for value in inner.inputs if value is not None)


def _fake_quantized(node: ir.Node) -> tuple[ir.Node, FloatArray, QParams] | None:
    """The QuantizeLinear of a node's weight, the float weight before it and the parameters."""
    back = producer(get_input(node, 1), 0, "DequantizeLinear")
    quantize = None if back is None else producer(back, 0, "QuantizeLinear")
    if back is None or quantize is None:
        return None
    weight = constant(quantize.inputs[0])
    qparams, again = (qparams_of(each) or blocked_qparams_of(each) for each in (quantize, back))
    if weight is None or weight.dtype != np.float32 or not np.isfinite(weight).all():
        return None
    if qparams is None or again is None or not qparams.same_as(again):
        return None
    return quantize, weight, qparams
