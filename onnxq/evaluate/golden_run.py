"""Running an integer model so that all its tensors show, within a budget of bytes."""

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxq.data.codes import convert, read_codes
from onnxq.data.samples import InputSpec, Sample
from onnxq.errors import DataError, UsageError
from onnxq.evaluate.c_constants import identifiers
from onnxq.graph.numeric import Array
from onnxq.runtime import Session

__all__ = ["Budget", "GoldenRun", "Tensor"]


@dataclass
class Budget:
    """How many bytes may be written, and how many are."""

    most: int
    spent: int = 0

    def require(self, size: int, what: str) -> None:
        """Whether ``size`` bytes are left.

        Raises:
            UsageError: they are not; names ``what`` went beyond.
        """
        if self.spent + size > self.most:
            raise UsageError(
                f"golden vectors would need more than {self.most:,} bytes ({what} went beyond): give fewer "
                "samples with --limit, or allow more with --max-size"
            )

    def spend(self, size: int, what: str) -> None:
        """Take ``size`` bytes.

        Raises:
            UsageError: as for :meth:`require`.
        """
        self.require(size, what)
        self.spent += size


@dataclass
class Tensor:
    """A value of the main graph and its file; axes of ``shape`` that differ between samples are None."""

    value: ir.Value
    role: str
    file: str
    shape: list[int | None] | None = None

    def see(self, array: Array) -> None:
        """Note the shape that it has in one sample."""
        if self.shape is None:
            self.shape = list(array.shape)
        self.shape = [a if a == b else None for a, b in zip(self.shape, array.shape, strict=True)]


class GoldenRun:
    """An integer model with all tensors of its main graph as outputs.

    Raises:
        ModelError: it cannot run.
        UsageError: not even one sample would fit into ``budget``.
    """

    def __init__(self, model: ir.Model, budget: Budget) -> None:
        self.model = model
        graph = model.graph
        inputs = [value for value in graph.inputs if value.name not in graph.initializers]
        made = [value for node in graph for value in node.outputs if value.name]
        values = [value for value in (*inputs, *made) if isinstance(value.type, ir.TensorType)]
        budget.require(sum(map(_least_bytes, values)), "one sample")
        names = identifiers(value.name or "" for value in values)
        self.tensors = {
            value.name or "": Tensor(value, _role(value), f"{i:04}_{names[value.name or '']}.npy")
            for i, value in enumerate(values)
        }
        self.session = Session(
            model, optimize=False, threads=1, extra_outputs=[value.name or "" for value in made]
        )
        self.codes = {port.name: read_codes(self.session.metadata, port.name) for port in self.session.inputs}

    def spec(self, spec: InputSpec) -> InputSpec:
        """What samples hold for an input: real numbers where these become codes."""
        real = self.codes.get(spec.name) is not None
        return replace(spec, dtype=np.dtype(np.float32)) if real else spec

    def arrays(self, sample: Sample) -> dict[str, Array]:
        """All tensors of one sample.

        Raises:
            DataError: it does not fit the model.
        """
        feeds = {}
        for port in self.session.inputs:
            if port.name not in sample.feeds:
                raise DataError(f"sample '{sample.name}' has no input '{port.name}'")
            array, where = np.asarray(sample.feeds[port.name]), f"sample '{sample.name}': '{port.name}'"
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(f"{where} holds NaN or infinity: repair or remove that sample")
            feeds[port.name] = convert(array, port.dtype, self.codes[port.name], where)
        wanted = [port.name for port in self.session.outputs if port.name in self.tensors]
        results = self.session.run(feeds, wanted)
        return {name: (feeds | results)[name] for name in self.tensors}


def _role(value: ir.Value) -> str:
    if value.is_graph_input():
        return "input"
    return "output" if value.is_graph_output() else "intermediate"


def _least_bytes(value: ir.Value) -> int:
    """Bytes of a value, open axes counted as 1."""
    dims = [dim if isinstance(dim, int) else 1 for dim in value.shape or ()]
    return math.prod(dims) * (1 if value.dtype is None else max(int(value.dtype.itemsize), 1))
