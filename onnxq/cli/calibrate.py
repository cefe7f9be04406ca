"""``onnxq calibrate``: the ranges that quantize would measure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.console import progress, result
from onnxq.cli.paths import check_destination

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxq.quant.plan import Plan

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
    preprocess: opt.Preprocess = None,
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
) -> None:
    """Measure the ranges of the values that quantize would measure.

    The samples run through the prepared model once. A run that writes a file and is interrupted goes on
    from its last checkpoint when started again.
    """
    from onnxq import api
    from onnxq.calibration.calibrate import calibrate as measure
    from onnxq.calibration.histogram import Histogram
    from onnxq.calibration.statistics import MinMax
    from onnxq.data.preprocessing import Preprocessing
    from onnxq.report.statistics import ranges

    if output is not None:
        check_destination(output, model)
    how = Preprocessing.parse(preprocess) if preprocess is not None else None
    prepared = api.run(model, "prepare", target=target).model
    names = _planned(prepared, target, options).measured
    samples = api.load_samples(prepared, data, preprocessing=how, limit=limit, seed=seed)
    kind = MinMax if output is None else Histogram
    with progress() as bar:
        file = measure(prepared, samples, {name: kind() for name in names}, bar, path=output)
    result(ranges(file), *([f"written to {output}"] if output else []))


def _planned(prepared: "ir.Model", target: str, options: str) -> "Plan":
    """What insert-qdq would do to a model that is prepared already."""
    from onnxq.api import Planner
    from onnxq.pipeline.context import Context
    from onnxq.pipeline.spec import parse
    from onnxq.targets.target import load_target

    steps = parse(f"insert-qdq{{{options}}}" if options else "insert-qdq").passes()
    planner = next(step for step in steps if isinstance(step, Planner))
    return planner.plan(prepared, Context(load_target(target)))
