"""What becomes of one node on a runtime."""

from dataclasses import dataclass

__all__ = ["Left", "Verdict"]


@dataclass(frozen=True)
class Verdict:
    """Whether a node runs on integers; the pattern it is part of, or why not and what would change that.

    ``kernel`` are the dtypes that an integer product multiplies, such as ``uint8*int8``.
    """

    integer: bool
    pattern: str
    fix: str = ""
    kernel: str = ""


class Left(Exception):
    """A node stays float: the reason, and what would fix it."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix

    @property
    def verdict(self) -> Verdict:
        return Verdict(False, self.reason, self.fix)
