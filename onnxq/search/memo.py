"""A context for many runs over the same samples: it measures the same thing once, and it minds the time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

import onnx_ir as ir

from onnxq.calibration.fingerprint import fingerprint
from onnxq.calibration.statistics import Statistic
from onnxq.errors import OnnxqError
from onnxq.pipeline.context import Context, Progress

__all__ = ["Clock", "MemoContext", "OutOfTimeError"]

_Request = tuple[str, tuple[tuple[str, str, bytes], ...]]


class OutOfTimeError(OnnxqError):
    """The time is over; whatever reports progress is stopped by this."""


@dataclass
class Clock:
    """Passes progress on; while ``strict`` it raises once the part ``until`` of ``budget`` seconds is over.

    Raises:
        OutOfTimeError: when called as progress.
    """

    progress: Progress
    budget: float
    until: float = 1.0
    strict: bool = False
    _begin: float = field(default_factory=monotonic)

    def __call__(self, what: str, done: int, total: int) -> None:
        if self.strict and self.is_over:
            raise OutOfTimeError("the time budget is used up")
        self.progress(what, done, total)

    @property
    def is_over(self) -> bool:
        """Whether the part of the budget is used up."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """Seconds of that part; negative when it is over."""
        return self._begin + self.until * self.budget - monotonic()


@dataclass(frozen=True)
class MemoContext(Context):
    """Remembers what was observed of a model.

    Only the very same request is answered from memory: ONNX Runtime fuses around the values that it must hand
    out, so that another set of values could differ in the last bit, and the bytes of the result with it.
    """

    remembered: dict[_Request, Mapping[str, Statistic]] = field(default_factory=dict)

    def observe(self, model: ir.Model, wants: Mapping[str, Statistic]) -> Mapping[str, Statistic]:
        request = fingerprint(model), tuple((name, *_state(statistic)) for name, statistic in wants.items())
        if request not in self.remembered:
            self.remembered[request] = super().observe(model, wants)
        return self.remembered[request]


def _state(statistic: Statistic) -> tuple[str, bytes]:
    arrays = statistic.to_arrays()
    return statistic.kind, b"".join(key.encode() + arrays[key].tobytes() for key in sorted(arrays))
