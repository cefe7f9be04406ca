"""``onnxq quantize --auto``: the search for the best candidate, and the files that make it again."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from onnxq.cli.console import progress, result
from onnxq.cli.paths import check_destination, check_distinct
from onnxq.errors import UsageError

__all__ = [
    "Auto",
    "Coverage",
    "Metric",
    "Results",
    "Search",
    "TimeBudget",
    "refuse_alone",
    "refuse_others",
    "search",
]

Auto = Annotated[
    bool, typer.Option("--auto", help="Try calibration methods, smoothing, rounding and mixed precision.")
]
Metric = Annotated[
    str,
    typer.Option(
        metavar="CMD",
        help="With --auto: SQNR, FILE.py:FUNCTION, or a command that prints a number; {model} is the file.",
    ),
]
TimeBudget = Annotated[float, typer.Option(metavar="S", help="With --auto: seconds.")]
Results = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="With --auto: results are kept there, and a search goes on."),
]
Coverage = Annotated[
    float,
    typer.Option(metavar="SHARE", help="With --auto: nodes on 8 bits that mixed precision must leave there."),
]


@dataclass(frozen=True)
class Search:
    """What the command line says of a search."""

    data: str | None
    target: str
    form: Literal["qdq", "qoperator", "integer"] | None
    io: Literal["float", "int8"]
    options: str
    recipe: Path | None
    preprocess: str | None
    limit: int | None
    seed: int
    metric: str
    time_budget: float
    results: Path | None
    coverage: float


def refuse_others(*given: object) -> None:
    """Refuse what a search would ignore.

    Raises:
        UsageError: one of them is given.
    """
    if any(given):
        raise UsageError(
            "--auto makes many models: it takes none of --stats, --method, --smooth, --scales, --rounding, "
            "--fix-shapes, --state, --proof, --checkpoints (--results is that too), --verify-each, "
            "--check-each, --time-passes, --dump-after and --explain; give these to onnxq run with the "
            "winner's pipeline"
        )


def refuse_alone(*given: object) -> None:
    """Refuse what only a search reads.

    Raises:
        UsageError: one of them is given.
    """
    if any(given):
        raise UsageError("--metric, --results, --time-budget and --coverage are for a search: add --auto")


def search(model: Path, output: Path, wanted: Search, report: Path | None) -> None:
    """Search, write the winner to ``output``, its pipeline beside it as ``.pipeline``, and print the table.

    Raises:
        UsageError: there is no data, or a file cannot be written.
    """
    from onnxq.data.preprocessing import Preprocessing
    from onnxq.files import write_atomically
    from onnxq.report.auto import as_json, tables
    from onnxq.search import auto

    if wanted.data is None:
        raise UsageError("--auto measures candidates on samples: pass --data FOLDER")
    text = output.with_suffix(".pipeline")
    for file in (output, text, *([report] if report is not None else [])):
        check_destination(file, model)
    check_distinct(output=output, report=report)
    with progress() as bar:
        found = auto(
            model,
            wanted.data,
            metric=wanted.metric,
            target=wanted.target,
            form=wanted.form,
            io=wanted.io,
            options=wanted.options,
            recipe=wanted.recipe,
            coverage=wanted.coverage,
            time_budget=wanted.time_budget,
            folder=wanted.results,
            preprocessing=Preprocessing.parse(wanted.preprocess) if wanted.preprocess is not None else None,
            limit=wanted.limit,
            seed=wanted.seed,
            progress=bar,
        )
    found.save(output)
    write_atomically(text, f"{found.pipeline}\n".encode())
    if report is not None:
        write_atomically(report, f"{as_json(found)}\n".encode())
    limit = f" --limit {found.limit}" if found.limit is not None else ""
    target = f" --target {wanted.target}" if wanted.target != "generic-int8" else ""
    seed = f" --seed {wanted.seed}" if wanted.seed else ""
    how = f" --preprocess {shlex.quote(wanted.preprocess)}" if wanted.preprocess is not None else ""
    again = f"onnxq run {model} -o OUT --data {wanted.data}{how}{limit}{seed}{target} -p @{text}"
    result(*tables(found), f"written to {output}; the same bytes again: {again}")
