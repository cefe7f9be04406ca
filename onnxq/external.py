"""Large tensors outside the model's own file while it is written: in a file beside it, or nowhere."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

import onnx_ir as ir

from onnxq.tensors import Slot, tensor_slots

__all__ = ["EXTERNAL_FROM", "goes_out", "left_out", "written_out"]

EXTERNAL_FROM = 1024
"""Bytes of a tensor that leaves the model; shape inference wants to see the small constants in it."""

_PAGE, _PAGED_FROM = 4096, 2**16  # large tensors start on a page so that runtimes can map them


def goes_out(slot: Slot) -> bool:
    """Whether a tensor is written into the file beside the model.

    Only initializers are: not every runtime looks for the data of a Constant node in another file.
    """
    large = slot.tensor.nbytes >= EXTERNAL_FROM and slot.tensor.dtype != ir.DataType.STRING
    return large and isinstance(slot.holder, ir.Value)


def written_out(model: ir.Model, data: BinaryIO, location: str) -> AbstractContextManager[None]:
    """Inside the block what goes out is in ``data``, the file that the model calls ``location``."""
    return _elsewhere(model, EXTERNAL_FROM, lambda slot: _write_out(slot, data, location))


def left_out(model: ir.Model, below: int) -> AbstractContextManager[None]:
    """Inside the block tensors of ``below`` bytes and more are references to a file that does not exist."""
    return _elsewhere(model, below, lambda slot: _reference(slot.tensor, "left-out", 0))


@contextlib.contextmanager
def _elsewhere(
    model: ir.Model, below: int, move: Callable[[Slot], ir.ExternalTensor | None]
) -> Iterator[None]:
    """Inside the block tensors of ``below`` bytes and more are the references that ``move`` makes, if any."""
    slots = (slot for slot in tensor_slots(model) if slot.tensor.dtype != ir.DataType.STRING)
    large = [slot for slot in slots if slot.tensor.nbytes >= below]
    moved: list[Slot] = []
    try:
        for slot in large:
            if (reference := move(slot)) is not None:
                moved.append(slot)
                slot.put(reference)
        yield
    finally:
        for slot in moved:
            slot.put(slot.tensor)


def _write_out(slot: Slot, data: BinaryIO, location: str) -> ir.ExternalTensor | None:
    if not goes_out(slot):
        return None
    step = _PAGE if slot.tensor.nbytes >= _PAGED_FROM else 16
    data.write(b"\0" * (-data.tell() % step))
    offset = data.tell()
    data.write(slot.tensor.tobytes())
    return _reference(slot.tensor, location, offset)


def _reference(tensor: ir.TensorProtocol, location: str, offset: int) -> ir.ExternalTensor:
    shape = ir.Shape(tensor.shape.numpy())
    return ir.ExternalTensor(
        location, offset, tensor.nbytes, tensor.dtype, shape=shape, name=tensor.name or ""
    )
