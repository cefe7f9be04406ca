"""Reading a graph: who made this value, who reads it, is it constant.

ONNX inputs are optional and constants hide in three places (initializer, Constant node, overridable
graph input). These helpers answer with a value or ``None``, so that a pass reads as a list of guards.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from onnxq.graph.numeric import Array

__all__ = [
    "constant",
    "constants",
    "consumers",
    "get_input",
    "is_float",
    "is_op",
    "producer",
    "rank",
    "scalar",
    "sole_consumer",
    "spatial_shape",
    "static_shape",
]


def is_op(node: ir.Node | None, *op_types: str, domain: str = "") -> bool:
    """Whether ``node`` is one of ``op_types`` of a domain (``ai.onnx`` and the empty domain are one)."""
    return node is not None and node.op_type in op_types and node.domain.replace("ai.onnx", "", 1) == domain


def get_input(node: ir.Node, index: int) -> ir.Value | None:
    """The node's input at ``index``; None where it is absent or left empty."""
    return node.inputs[index] if index < len(node.inputs) else None


def producer(source: ir.Node | ir.Value | None, index: int = 0, *op_types: str) -> ir.Node | None:
    """The node that makes input ``index`` of a node (or that makes a value), if it is of ``op_types``."""
    value = get_input(source, index) if isinstance(source, ir.Node) else source
    node = value.producer() if value is not None else None
    return node if node is not None and (not op_types or is_op(node, *op_types)) else None


def consumers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value, each once, bodies of If/Loop included, in the order of their reading."""
    return list(dict.fromkeys(use.node for use in value.uses()))


def sole_consumer(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The only node that reads a value, in its own scope; None if read twice or an output."""
    readers = consumers(value)
    if len(readers) != 1 or len(list(value.uses())) != 1 or value.is_graph_output():
        return None
    reader, maker = readers[0], value.producer()
    if maker is not None and maker.graph is not reader.graph:
        return None
    return reader if not op_types or is_op(reader, *op_types) else None


def constant(value: ir.Value | None) -> Array | None:
    """The array of an initializer or Constant node; None for anything that can change at run time.

    An initializer that is also a graph input can be overridden by the caller: it is no constant.
    """
    if value is None or value.is_graph_input():
        return None
    node = value.producer()
    if value.const_value is None and (node is None or node.op_type != "Constant" or node.domain):
        return None
    if node is not None and len(node.attributes) != 1:
        return None
    tensor = _constant_tensor(value, node)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return None
    return tensor.numpy()


def _constant_tensor(value: ir.Value, node: ir.Node | None) -> ir.TensorProtocol | None:
    given = node.attributes.get("value") if node is not None and value.const_value is None else None
    if given is None or given.is_ref():
        return ir.convenience.get_const_tensor(value)
    # get_const_tensor would name the tensor after the value: reading must not change the model's bytes
    return given.as_tensor()


def constants(values: Iterable[ir.Value | None]) -> list[Array] | None:
    """The arrays of all values, or None if one of them is absent or not constant."""
    found = [constant(value) for value in values]
    return [array for array in found if array is not None] if all(a is not None for a in found) else None


def scalar(value: ir.Value | None) -> float | None:
    """The number in a one-element constant of any rank, else None."""
    array = constant(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def is_float(value: ir.Value | None) -> bool:
    """Whether a value is known to be float32, the type that onnxq quantizes."""
    return value is not None and value.dtype == ir.DataType.FLOAT


def rank(value: ir.Value | None) -> int | None:
    """The number of axes, or None if it is not known."""
    return len(value.shape) if value is not None and value.shape is not None else None


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape if every axis of it is a number, else None."""
    if value is None or value.shape is None:
        return None
    dims: Sequence[object] = list(value.shape)
    return tuple(d for d in dims if isinstance(d, int)) if all(isinstance(d, int) for d in dims) else None


def spatial_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The lengths of the axes behind batch and channels if all of them are numbers, else None."""
    if value is None or value.shape is None:
        return None
    dims: Sequence[object] = list(value.shape)[2:]
    return tuple(d for d in dims if isinstance(d, int)) if all(isinstance(d, int) for d in dims) else None


def equals(array: Array | None, number: float) -> bool:
    """Whether every element of a constant is exactly ``number``."""
    return array is not None and array.size > 0 and bool(np.all(array == number))
