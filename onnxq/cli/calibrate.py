"""``onnxq calibrate``: measure what quantize would measure, once, for every method."""

from pathlib import Path
from typing import Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.console import progress, result
from onnxq.cli.paths import check_destination

__all__ = ["calibrate"]


def calibrate(
    model: opt.Model,
    data: opt.DataFor,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.stats.npz", help="Keep the statistics, as histograms."),
    ] = None,
    target: opt.TargetName = "generic-int8",
    options: opt.Options = "",
    state: opt.State = None,
    fix_shapes: opt.FixShapes = None,
    preprocess: opt.Preprocess = None,
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
    engine: Annotated[
        str | None,
        typer.Option(metavar="E", help="Spread the samples: local:4, ray, or ray://host:10001."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Bound what one run keeps of activations, such as 512M or 2G."),
    ] = None,
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="Run N samples at once where that changes no bit.")
    ] = 1,
    provider: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Execution provider of ONNX Runtime; may be repeated."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out arrays with NaN or infinity, and count them.")
    ] = False,
) -> None:
    """Measure the ranges of the values that quantize would measure.

    The samples run through the prepared model once. A run that writes a file and is interrupted goes on
    from its last checkpoint when started again. `onnxq quantize --stats FILE` uses the file.
    """
    from onnxq import api
    from onnxq.calibration.observe import Options
    from onnxq.data.preprocessing import Preprocessing
    from onnxq.data.sequences import parse_state
    from onnxq.pipeline.presets import parse_shapes
    from onnxq.report.statistics import ranges
    from onnxq.report.table import parse_size

    if output is not None:
        check_destination(output, model)
    bound = parse_size(memory) if memory is not None else None
    providers = tuple(provider) if provider else Options.providers
    with progress() as bar:
        file = api.calibrate(
            model,
            data,
            target=target,
            options=options,
            path=output,
            engine=engine,
            observing=Options(memory=bound, providers=providers, skip_bad=skip_bad, batch=batch),
            state=parse_state(state or ()),
            shapes=None if fix_shapes is None else parse_shapes(fix_shapes),
            preprocessing=Preprocessing.parse(preprocess) if preprocess is not None else None,
            limit=limit,
            seed=seed,
            progress=bar,
        )
    result(ranges(file), *([f"written to {output}"] if output else []))
