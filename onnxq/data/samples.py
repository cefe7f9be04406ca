"""Calibration samples as every other module sees them: named feeds, one at a time, as often as needed.

A :class:`Samples` loads one sample per step, so that memory does not grow with their number, and starts
afresh at every ``for``. What the model wants to be fed is a list of :class:`InputSpec`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.numeric import Array

__all__ = ["MAX_SAMPLE_BYTES", "InputSpec", "Sample", "Samples", "digest", "input_specs"]

MAX_SAMPLE_BYTES = 2**31
"""No file and no declared shape makes onnxq allocate more than this for one sample."""


@dataclass(frozen=True)
class Sample:
    """One run of the model: an array for each of its inputs, and the name to call it in a message."""

    name: str
    feeds: Mapping[str, Array]


@runtime_checkable
class Samples(Protocol):
    """Samples that can be iterated any number of times, always the same ones in the same order."""

    def __iter__(self) -> Iterator[Sample]: ...

    def __len__(self) -> int: ...

    def fingerprint(self) -> str:
        """Which data this is, see :func:`digest`."""
        return digest(self)


@dataclass(frozen=True)
class InputSpec:
    """An input of a model: its numpy dtype and its shape, with None where an axis is free."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join('?' if dim is None else str(dim) for dim in self.shape)}]"


def input_specs(model: ir.Model) -> list[InputSpec]:
    """What the caller of a model has to feed: its graph inputs without those that have a default value.

    Raises:
        ModelError: an input is no tensor of numbers or does not say its type or rank.
    """
    graph = model.graph
    return [_spec(value) for value in graph.inputs if value.name not in graph.initializers]


def digest(samples: Iterable[Sample]) -> str:
    """SHA-256 (hex) over the input names, dtypes, shapes and bytes of all samples in their order.

    Names of files do not count: the same data in another folder has the same digest.
    """
    total = hashlib.sha256()
    for sample in samples:
        for name, array in sorted(sample.feeds.items()):
            head = f"{name!r} {array.dtype.str} {array.shape}\n"
            total.update(head.encode())
            total.update(np.asarray(array, order="C").tobytes())
        total.update(b"\n")
    return total.hexdigest()


def _spec(value: ir.Value) -> InputSpec:
    kind = value.dtype
    no_numbers = (ir.DataType.STRING, ir.DataType.UNDEFINED)
    if not isinstance(value.type, ir.TensorType) or kind is None or kind in no_numbers:
        raise ModelError(f"input '{value.name}' is {value.type}: onnxq can feed tensors of numbers only")
    if value.shape is None:
        raise ModelError(f"input '{value.name}' does not declare its rank: give the model's inputs shapes")
    shape = tuple(dim if isinstance(dim, int) and dim >= 0 else None for dim in value.shape)
    return InputSpec(value.name or "", np.dtype(kind.numpy()), shape)
