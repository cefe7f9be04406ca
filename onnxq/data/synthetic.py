"""Random samples, for smoke tests only: ranges measured on them mean nothing."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnxq.data.samples import InputSpec, Sample, Samples
from onnxq.errors import DataError, UsageError
from onnxq.graph.numeric import Array

__all__ = ["LARGEST", "RandomDataWarning", "RandomSamples", "parse_random"]

LARGEST = 2**28
"""Bytes of one input of a sample: what a model makes of it is often a hundred times as much."""


class RandomDataWarning(UserWarning):
    """Ranges come from random numbers: the quantized model will not be accurate."""


@dataclass(frozen=True)
class RandomSamples(Samples):
    """``count`` seeded samples made from the model's input declarations.

    Floats are standard normal, integers 0 to 3, booleans fair coins. A free first axis becomes 1; all
    other free axes of a sample share one size of 8 to 16, so that inputs which must agree do.

    Raises:
        DataError: an input declares a shape that is too large to fill.
    """

    count: int
    specs: Sequence[InputSpec]
    seed: int = 0

    def __post_init__(self) -> None:
        for spec in self.specs:
            size = math.prod(16 if dim is None else dim for dim in spec.shape) * spec.dtype.itemsize
            if size > LARGEST:
                raise DataError(f"input '{spec.name}' {spec} needs {size} bytes a sample: give real samples")
        warnings.warn(
            "random samples: the measured ranges are meaningless, use this for smoke tests only",
            RandomDataWarning,
            stacklevel=5,
        )

    def __iter__(self) -> Iterator[Sample]:
        for i in range(self.count):
            rng = np.random.default_rng([self.seed, i])
            free = int(rng.integers(8, 17))
            yield Sample(f"random[{i}]", {spec.name: _draw(spec, free, rng) for spec in self.specs})

    def __len__(self) -> int:
        return self.count


def parse_random(text: str) -> int:
    """The N of ``random:N``.

    Raises:
        UsageError: N is no whole number above 0.
    """
    number = text.removeprefix("random:")
    if not (number.isascii() and number.isdigit() and int(number) > 0):
        raise UsageError(f"'{text}': expected random:N with N of 1 or more, such as random:8")
    return int(number)


def _draw(spec: InputSpec, free: int, rng: np.random.Generator) -> Array:
    shape = [dim if dim is not None else 1 if axis == 0 else free for axis, dim in enumerate(spec.shape)]
    if spec.dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape), spec.dtype)
    if spec.dtype.kind in "iub":
        return np.asarray(rng.integers(0, 2 if spec.dtype.kind == "b" else 4, shape), spec.dtype)
    raise DataError(f"input '{spec.name}' is {spec.dtype}: no random samples for it, give real ones")
