"""``onnxq run``: any pipeline on a model."""

from pathlib import Path
from typing import Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.bisect import Setting, find_culprit
from onnxq.cli.console import progress, result
from onnxq.cli.paths import check_destination, disk_size
from onnxq.cli.watch import Watch
from onnxq.errors import UsageError
from onnxq.report.table import size

__all__ = ["run"]


def run(
    model: opt.Model,
    pipeline: Annotated[
        str,
        typer.Option(
            "--pipeline",
            "-p",
            metavar="TEXT",
            help="Passes, presets and @files, such as 'prepare, insert-qdq{symmetric=true}'.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Where the model goes.")
    ] = None,
    data: opt.OptionalData = None,
    target: opt.TargetName = "generic-int8",
    preprocess: opt.Preprocess = None,
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
    checkpoints: opt.Checkpoints = None,
    verify_each: opt.VerifyEach = False,
    check_each: opt.CheckEach = False,
    time_passes: opt.TimePasses = False,
    dump_after: opt.DumpAfter = None,
    stop_after: Annotated[
        str | None, typer.Option(metavar="PASS", help="End behind the first run of that pass.")
    ] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Write nothing; find the pass after which the model is broken.")
    ] = False,
    explain: opt.Explain = False,
) -> None:
    """Run a pipeline: passes in the order that the text says.

    `onnxq passes` lists what there is. Data is needed by passes that measure activations.
    With --bisect a model is broken if it is no valid ONNX or ONNX Runtime does not load it; failing that,
    if a pass breaks its contract.
    """
    from onnxq import api, model_io
    from onnxq.data.preprocessing import Preprocessing
    from onnxq.report.run import steps

    how = Preprocessing.parse(preprocess) if preprocess is not None else None
    if bisect:
        with progress() as bar:
            find_culprit(model, pipeline, Setting(data, target, how, limit, seed), bar)
        return result("no pass breaks the model: it is valid, loads, and every contract is kept")
    if output is None:
        raise UsageError("onnxq run needs -o OUT, the path of the model to write (or --bisect)")
    check_destination(output, model)
    watch = Watch.of(
        verify_each=verify_each,
        check_each=check_each,
        time_passes=time_passes,
        dump_after=dump_after,
        explain=explain,
        stop_after=stop_after,
    )
    with progress() as bar:
        report = api.run(
            model,
            pipeline,
            data,
            target=target,
            preprocessing=how,
            limit=limit,
            seed=seed,
            checkpoints=checkpoints,
            progress=bar,
            hooks=watch.hooks,
        )
    model_io.save(report.model, output)
    notes = [f"note: {sentence}" for sentence in report.unfinished]
    sizes = f"size: {size(disk_size(model))} before, {size(disk_size(output))} after"
    result(steps(report), *watch.tables(report), *notes, sizes, f"written to {output}")
    return None
