"""The constant tensors of a model, wherever they hide, and the check that their bytes are what they declare.

Data in external files is replaced by memory maps: one map a file, however many tensors share it.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from onnxq.errors import ModelError, OnnxqError
from onnxq.files import contained, map_bytes
from onnxq.graph.scopes import scopes

__all__ = ["Slot", "check_sizes", "embed_external", "settle_types", "tensor_slots"]

_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


@dataclass(frozen=True)
class Slot:
    """One tensor and the place that holds it: an initializer's value, or an attribute of a node."""

    tensor: ir.TensorProtocol
    holder: ir.Value | ir.Node
    attribute: str = ""
    index: int | None = None

    @property
    def name(self) -> str:
        """The tensor's name for messages."""
        return self.holder.name or self.tensor.name or f"{self.attribute} of {self.holder.name or 'a node'}"

    @property
    def location(self) -> str:
        """The external file that holds the data; empty if there is none."""
        return str(self.tensor.location) if isinstance(self.tensor, ir.ExternalTensor) else ""

    def put(self, tensor: ir.TensorProtocol) -> None:
        """Store another tensor in the same place."""
        if isinstance(self.holder, ir.Value):
            self.holder.const_value = tensor
        elif self.index is None:
            self.holder.attributes[self.attribute] = ir.AttrTensor(self.attribute, tensor)
        else:
            tensors = list(self.holder.attributes[self.attribute].as_tensors())
            tensors[self.index] = tensor
            self.holder.attributes[self.attribute] = ir.AttrTensors(self.attribute, tensors)


def tensor_slots(model: ir.Model) -> Iterator[Slot]:
    """Every tensor of every scope: initializers and attributes, in the order of the graph."""
    for scope in scopes(model):
        if isinstance(scope.graph, ir.Graph):
            values = list(scope.graph.initializers.values())
            yield from (Slot(v.const_value, v) for v in values if v.const_value is not None)
        for node in scope.graph:
            yield from _attribute_slots(node)


def _attribute_slots(node: ir.Node) -> Iterator[Slot]:
    for attribute in list(node.attributes.values()):
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR:
            yield Slot(attribute.as_tensor(), node, attribute.name)
        elif attribute.type == ir.AttributeType.TENSORS:
            for i, tensor in enumerate(attribute.as_tensors()):
                yield Slot(tensor, node, attribute.name, i)


def check_sizes(model: ir.Model) -> None:
    """Hold every embedded tensor of a protobuf message against the number of bytes it declares.

    Raises:
        ModelError: names the tensor.
    """
    for slot in tensor_slots(model):
        if isinstance(slot.tensor, ir.serde.TensorProtoTensor):
            with _naming(slot):
                _check_size(slot.tensor.raw)


def embed_external(model: ir.Model, folder: Path | None = None) -> None:
    """Turn every external tensor into a map of its file.

    ``folder`` is where files are looked for when a tensor does not say it itself.

    Raises:
        ModelError: names the tensor: its data is missing, outside the folder, or not of the declared size.
    """
    maps: dict[Path, NDArray[np.uint8]] = {}
    for slot in tensor_slots(model):
        if isinstance(slot.tensor, ir.ExternalTensor):
            with _naming(slot):
                slot.put(_mapped(slot.tensor, folder, maps))


def settle_types(model: ir.Model) -> None:
    """Let the data of initializers say their shapes, where a declaration says something else.

    Raises:
        ModelError: one is declared as another type than its data; names it.
    """
    for slot in tensor_slots(model):
        value, tensor = slot.holder, slot.tensor
        if not isinstance(value, ir.Value):
            continue
        if value.dtype not in (None, tensor.dtype):
            raise ModelError(
                f"tensor '{slot.name}' is declared as {value.dtype}, but its data is {tensor.dtype}"
            )
        if value.shape is not None and list(value.shape) != list(tensor.shape):
            value.shape = ir.Shape(tensor.shape.numpy())


@contextlib.contextmanager
def _naming(slot: Slot) -> Iterator[None]:
    try:
        yield
    except OnnxqError as error:
        raise ModelError(f"tensor '{slot.name}': {error}") from error


def _mapped(
    tensor: ir.ExternalTensor, folder: Path | None, maps: dict[Path, NDArray[np.uint8]]
) -> ir.TensorProtocol:
    home = Path(tensor.base_dir) if tensor.base_dir else folder
    if home is None:
        raise ModelError("its data is in an external file, but the model was not loaded from a folder")
    if not str(tensor.location):
        raise ModelError("its data is external, but it does not say in which file")
    dims = _dims(list(tensor.shape.numpy()))
    if tensor.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED):
        raise ModelError(f"data of type {tensor.dtype.name} cannot be external")
    size = _bytes_of(math.prod(dims), tensor.dtype)
    offset, length = tensor.offset or 0, size if tensor.length is None else tensor.length
    if length != size:
        raise ModelError(f"{tensor.dtype.name}{dims} takes {size} bytes, but {length} are declared")
    path = contained(home, str(tensor.location))
    if path not in maps:
        maps[path] = map_bytes(path)
    data = maps[path]
    if offset < 0 or offset + size > data.size:
        raise ModelError(
            f"bytes {offset} to {offset + size} are declared, but '{tensor.location}' has {data.size}"
        )
    part = data[offset : offset + size]
    if tensor.dtype.bitwidth < 8:
        return ir.PackedTensor(part, tensor.dtype, shape=dims, name=tensor.name, doc_string=tensor.doc_string)
    array = part.view(tensor.dtype.numpy()).reshape(dims)
    return ir.Tensor(array, tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)


def _check_size(proto: onnx.TensorProto) -> None:
    """Whether an embedded tensor has as much data as its dimensions ask for."""
    dims, dtype = _dims(list(proto.dims)), _dtype(proto.data_type)
    count = math.prod(dims)
    if proto.HasField("raw_data"):
        want, have, unit = _bytes_of(count, dtype), len(proto.raw_data), "bytes"
    else:
        want, have, unit = _items_of(count, dtype), sum(len(getattr(proto, f)) for f in _FIELDS), "numbers"
    if want != have:
        raise ModelError(f"{dtype.name}{dims} takes {want} {unit}, but there are {have}")


def _dims(dims: list[int]) -> list[int]:
    if any(dim < 0 for dim in dims):
        raise ModelError(f"a dimension of {dims} is negative")
    return dims


def _dtype(code: int) -> ir.DataType:
    try:
        return ir.DataType(code)
    except ValueError as error:
        raise ModelError(f"its type {code} is not known") from error


def _bytes_of(count: int, dtype: ir.DataType) -> int:
    return -(-count * dtype.bitwidth // 8)


def _items_of(count: int, dtype: ir.DataType) -> int:
    """How many entries of a typed field: complex numbers take two, types below a byte share an int32."""
    if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        return 2 * count
    return -(-count * dtype.bitwidth // 8) if dtype != ir.DataType.STRING and dtype.bitwidth < 8 else count
