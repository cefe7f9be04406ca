"""What the search of ``onnxq quantize --auto`` tried, as a table and as JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from onnxq.report.table import Table, percent, size
from onnxq.search import AutoResult
from onnxq.search.trials import Trial
from onnxq.words import plural

__all__ = ["as_json", "tables"]


def tables(found: AutoResult) -> Iterator[str | Table]:
    """Every candidate, the best first; ``*`` marks those that no other beats in all that counts."""
    optimal = {trial.pipeline for trial in found.pareto}
    ordered = sorted(found.trials, key=lambda t: (t.value is None, -(t.value or 0.0)))
    rows = [_row(trial, trial.pipeline in optimal) for trial in ordered]
    heads = ["", "candidate", f">{found.metric}", ">size", ">integer nodes", ">integer MACs", ">8-bit nodes"]
    yield Table(f"{plural(len(rows), 'candidate')}, the best first", [*heads, ">run ms", ">made s"], rows)
    yield from (f"note: {note}" for note in found.notes)
    if found.floats is not None:
        yield f"the float model: {found.floats:.6g}"
    if not found.finished:
        yield "the time budget was used up before the ladder's end: a larger one may find more"
    yield f"winner: {found.best.title}, {_number(found.best)}"


def as_json(found: AutoResult) -> str:
    """The same as JSON."""
    made = {
        "metric": found.metric,
        "float": found.floats,
        "finished": found.finished,
        "limit": found.limit,
        "best": asdict(found.best),
        "trials": [asdict(trial) for trial in found.trials],
        "pareto": [trial.title for trial in found.pareto],
        "notes": list(found.notes),
    }
    return json.dumps(made, indent=1, allow_nan=False)


def _row(trial: Trial, optimal: bool) -> tuple[str, ...]:
    if trial.value is None:
        return "", trial.title, "failed", *["-"] * 6
    return (
        "*" if optimal else "",
        trial.title,
        _number(trial),
        size(trial.bytes),
        percent(trial.nodes),
        percent(trial.macs),
        percent(trial.narrow),
        f"{trial.milliseconds:.1f}",
        f"{trial.seconds:.1f}",
    )


def _number(trial: Trial) -> str:
    return "-" if trial.value is None else f"{trial.value:.6g}"
