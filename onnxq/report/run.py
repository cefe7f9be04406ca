"""Tables on a run of a pipeline: what each pass did, left alone, measured, took."""

from collections.abc import Sequence

from onnxq.pipeline.check import CheckRow
from onnxq.pipeline.runner import RunReport
from onnxq.report.table import Table, decibel
from onnxq.words import plural

__all__ = ["checks", "skips", "steps", "times"]


def steps(report: RunReport) -> Table:
    """The passes that edited something, in their order."""
    rows = [(step.place, step.text, str(step.edits)) for step in report.steps if step.edits]
    edits = plural(report.edits, "edit")
    return Table(f"{edits} in {plural(len(report.steps), 'pass run')}", ["place", "pass", ">edits"], rows)


def skips(report: RunReport) -> Table:
    """Every place that a pass left alone, with the reason, once."""
    found = dict.fromkeys(
        (step.pass_.name, skip.node, skip.reason) for step in report.steps for skip in step.skips
    )
    return Table(f"left alone: {len(found)}", ["pass", "node", "reason"], list(found))


def checks(rows: Sequence[CheckRow]) -> Table:
    """What ``--check-each`` found after each pass that edited something: the worst output counts."""
    cells = [
        (row.place, row.text, str(row.contract), decibel(min(row.sqnr_db.values(), default=float("inf"))))
        if not row.unchecked
        else (row.place, row.text, str(row.contract), f"not checked: {row.unchecked}")
        for row in rows
    ]
    return Table("contracts kept", ["place", "pass", "contract", ">sqnr dB"], cells)


def times(rows: Sequence[tuple[str, int, int, float]]) -> Table:
    """What ``--time-passes`` measured."""
    total = sum(seconds for *_, seconds in rows)
    cells = [(name, str(runs), str(edits), f"{1e3 * seconds:.1f}") for name, runs, edits, seconds in rows]
    return Table(f"passes took {total:.3f} s", ["pass", ">runs", ">edits", ">milliseconds"], cells)
