"""``onnxq quantize``: float model and samples in, quantized model out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from onnxq.cli import auto as search
from onnxq.cli import options as opt
from onnxq.cli.console import progress, result
from onnxq.cli.paths import check_destination, check_distinct, disk_size, recipe_file, write_json
from onnxq.cli.watch import Watch

__all__ = ["quantize"]


def quantize(
    model: opt.Model,
    output: opt.Output,
    data: opt.OptionalData = None,
    stats: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Ranges from `onnxq calibrate` with the same target, options and shapes."
        ),
    ] = None,
    target: opt.TargetName = "generic-int8",
    form: Annotated[
        Literal["qdq", "qoperator", "integer"] | None,
        typer.Option(help="What to make; by default what the target takes."),
    ] = None,
    io: Annotated[
        Literal["float", "int8"],
        typer.Option(help="What a Q/DQ or QOperator model takes and gives; int8: codes, as integers always."),
    ] = "float",
    scales: Annotated[
        Literal["auto", "as-is", "equalize", "smooth", "both"],
        typer.Option(metavar="HOW", help="as-is, equalize, smooth, both; auto: as-is, or what surely wins."),
    ] = "auto",
    rounding: Annotated[
        Literal["auto", "nearest", "gptq"],
        typer.Option(
            metavar="HOW", help="nearest, or gptq: for the layers' outputs; auto: gptq from 32 samples on."
        ),
    ] = "auto",
    method: Annotated[
        str | None,
        typer.Option(metavar="M", help="How ranges are chosen: minmax, mse, percentile:99.99, auto …"),
    ] = None,
    smooth: Annotated[
        Literal["O1", "O2", "O3"] | None,
        typer.Option(
            help="For transformers, as in SmoothQuant: only products in 8 bits, their inputs quantized at "
            "run time per token (O1) or per tensor (O2), or statically (O3)."
        ),
    ] = None,
    options: opt.Options = "",
    recipe: opt.Recipe = None,
    state: opt.State = None,
    fix_shapes: opt.FixShapes = None,
    preprocess: opt.Preprocess = None,
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
    proof: Annotated[
        int, typer.Option(metavar="N", min=0, help="Compare with the float model on N samples; 0: do not.")
    ] = 16,
    auto: search.Auto = False,
    metric: search.Metric = "SQNR",
    time_budget: search.TimeBudget = 600.0,
    results: search.Results = None,
    coverage: search.Coverage = 0.95,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write plan, steps and proof as JSON.")
    ] = None,
    checkpoints: opt.Checkpoints = None,
    verify_each: opt.VerifyEach = False,
    check_each: opt.CheckEach = False,
    time_passes: opt.TimePasses = False,
    dump_after: opt.DumpAfter = None,
    explain: opt.Explain = False,
) -> None:
    """Quantize a float model, given samples of its real input.

    Measure the accuracy of your task on held-out samples with `onnxq compare`: the proof printed here is
    on calibration samples.
    """
    recipe_file(recipe)
    if auto:
        search.refuse_others(
            *(stats, method, smooth, state, proof != 16, checkpoints, scales != "auto", rounding != "auto"),
            *(fix_shapes, verify_each, check_each, time_passes, dump_after, explain),
        )
        how = data, target, form, io, options, recipe, preprocess, limit, seed
        return search.search(
            model, output, search.Search(*how, metric, time_budget, results, coverage), report
        )
    search.refuse_alone(metric != "SQNR", results, time_budget != 600.0, coverage != 0.95)
    from onnxq import api
    from onnxq.data.preprocessing import Preprocessing
    from onnxq.data.sequences import parse_state
    from onnxq.pipeline.presets import parse_shapes
    from onnxq.report.quantization import as_dict, summary

    check_destination(output, model)
    if report is not None:
        check_destination(report, model)
    check_distinct(output=output, report=report)
    watch = Watch.of(
        verify_each=verify_each,
        check_each=check_each,
        time_passes=time_passes,
        dump_after=dump_after,
        explain=explain,
    )
    with progress() as bar:
        made = api.quantize(
            model,
            data,
            target=target,
            form=form,
            io=io,
            scales=scales,
            rounding=rounding,
            level=smooth,
            options=options if method is None else f"{options} method={method}".strip(),
            recipe=recipe,
            statistics=stats,
            state=parse_state(state or ()),
            shapes=None if fix_shapes is None else parse_shapes(fix_shapes),
            preprocessing=Preprocessing.parse(preprocess) if preprocess is not None else None,
            limit=limit,
            seed=seed,
            proof=proof,
            checkpoints=checkpoints,
            progress=bar,
            hooks=watch.hooks,
        )
    made.save(output)
    if report is not None:
        write_json(report, as_dict(made))
    sizes = disk_size(model), disk_size(output)
    result(*summary(made, data, sizes), *watch.tables(made.report), f"written to {output}")
    return None
