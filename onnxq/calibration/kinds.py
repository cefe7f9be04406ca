"""Statistics by the names that files use, and several statistics of one value."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.moments import Gram, Moments
from onnxq.calibration.statistics import ChannelMinMax, MinMax, Statistic, field
from onnxq.graph.numeric import Array

__all__ = ["Joint", "restore"]


class Joint(Statistic):
    """Several statistics of one value: ``Joint([Histogram(), ChannelMinMax(1)])``."""

    kind = "joint"

    def __init__(self, members: Sequence[Statistic]) -> None:
        self.members = list(members)

    def update(self, array: Array, sample: int = 0) -> None:
        for member in self.members:
            member.update(array, sample)

    def merge(self, other: Self) -> None:
        ours, theirs = ([member.kind for member in joint.members] for joint in (self, other))
        if ours != theirs:
            raise ValueError(f"the statistics {', '.join(theirs)} cannot be merged into {', '.join(ours)}")
        for member, its in zip(self.members, other.members, strict=True):
            member.merge(its)

    def to_arrays(self) -> dict[str, Array]:
        names = ",".join(member.kind for member in self.members)
        kinds = np.frombuffer(names.encode(), np.uint8)
        parts = {f"{i}.{k}": v for i, m in enumerate(self.members) for k, v in m.to_arrays().items()}
        return {"kinds": kinds} | parts

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        kinds = field(arrays, "kinds", "i", 1).astype(np.uint8).tobytes().decode("ascii", "replace")
        return cls(
            [
                restore(kind, {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{i}.")})
                for i, kind in enumerate(kinds.split(","))
            ]
        )


def restore(kind: str, arrays: Mapping[str, Array]) -> Statistic:
    """The statistic of a kind that :meth:`Statistic.to_arrays` described.

    Raises:
        ValueError: there is no such kind, or the arrays do not describe one.
    """
    if kind not in _KINDS:
        raise ValueError(f"there is no statistic of kind '{kind}'; there are {', '.join(_KINDS)}")
    return _KINDS[kind].from_arrays(arrays)


_KINDS: dict[str, type[Statistic]] = {
    cls.kind: cls for cls in (MinMax, ChannelMinMax, Histogram, Moments, Gram, Joint)
}
