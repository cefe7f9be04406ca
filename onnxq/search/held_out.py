"""Samples to calibrate on and samples to score on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from onnxq.data.samples import Sample, Samples

__all__ = ["Held", "Slice", "split"]

HELD_OUT = 4
"""One sample in so many, the last ones, is scored on and not calibrated on."""


@dataclass(frozen=True)
class Held(Samples):
    """Samples that are held in memory."""

    held: Sequence[Sample]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)


@dataclass(frozen=True)
class Slice(Samples):
    """Samples from ``start`` up to ``stop``."""

    samples: Samples
    start: int
    stop: int

    def __iter__(self) -> Iterator[Sample]:
        return islice(iter(self.samples), self.start, self.stop)

    def __len__(self) -> int:
        return self.stop - self.start


def split(samples: Samples) -> tuple[Samples, Samples]:
    """Samples to calibrate on and samples to score on; the same ones where there are fewer than four."""
    total = len(samples)
    held = total // HELD_OUT
    if not held:
        return samples, samples
    return Slice(samples, 0, total - held), Slice(samples, total - held, total)
