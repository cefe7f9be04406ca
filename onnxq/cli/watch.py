"""The options that watch a run, made into hooks, and what they have to say afterwards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxq.errors import UsageError
from onnxq.report.table import Table

if TYPE_CHECKING:
    from onnxq.pipeline.check import CheckEach
    from onnxq.pipeline.hooks import TimePasses
    from onnxq.pipeline.runner import Hook, RunReport

__all__ = ["Watch"]


@dataclass(frozen=True)
class Watch:
    """Hooks for one run."""

    hooks: "Sequence[Hook]"
    explain: bool
    timing: "TimePasses | None"
    checking: "CheckEach | None"

    @classmethod
    def of(
        cls,
        *,
        verify_each: bool,
        check_each: bool,
        time_passes: bool,
        dump_after: Sequence[str] | None,
        explain: bool,
        stop_after: str | None = None,
    ) -> "Watch":
        """The hooks that the options ask for.

        Raises:
            UsageError: a ``--dump-after`` is not PASS=FOLDER.
        """
        from onnxq.pipeline.check import CheckEach
        from onnxq.pipeline.hooks import DumpAfter, StopAfter, TimePasses, VerifyEach

        timing = TimePasses() if time_passes else None
        checking = CheckEach() if check_each else None
        hooks: list[Hook] = [hook for hook in (timing, checking) if hook is not None]
        hooks += [VerifyEach()] if verify_each else []
        hooks += [StopAfter(stop_after)] if stop_after is not None else []
        hooks += [DumpAfter(folder, names) for folder, names in _dumps(dump_after or ())]
        return cls(hooks, explain, timing, checking)

    def tables(self, report: "RunReport") -> Iterator[Table]:
        """What was asked for, after the run."""
        from onnxq.report.run import checks, skips, times

        if self.explain:
            yield skips(report)
        if self.checking is not None:
            yield checks(self.checking.rows)
        if self.timing is not None:
            yield times(self.timing.rows())


def _dumps(texts: Sequence[str]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder with the passes to dump into it; an empty list stands for all."""
    wanted: dict[str, list[str]] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UsageError(f"--dump-after takes PASS=FOLDER or all=FOLDER, not '{text}'")
        wanted.setdefault(folder, []).append(name)
    return ((Path(folder), [] if "all" in names else names) for folder, names in wanted.items())
