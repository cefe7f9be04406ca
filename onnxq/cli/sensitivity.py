"""``onnxq sensitivity``: what each layer and each value costs when it alone is quantized."""

import json
from pathlib import Path
from typing import Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.console import progress, result
from onnxq.cli.paths import check_destination

__all__ = ["sensitivity"]


def sensitivity(
    model: opt.Model,
    data: opt.DataFor,
    target: opt.TargetName = "generic-int8",
    options: opt.Options = "",
    top: Annotated[int, typer.Option(metavar="N", min=1, help="List the N most harmful.")] = 20,
    samples: Annotated[
        int, typer.Option(metavar="N", min=1, help="Measure errors on N of the samples, evenly spread.")
    ] = 8,
    picture: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the layers as bars.")] = None,
    fix_shapes: opt.FixShapes = None,
    preprocess: opt.Preprocess = None,
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Rank layers and values by the error that each alone makes.

    Ranges are calibrated on all samples. What stands at the top is what 16 bits, float or better ranges help
    most: `onnxq quantize --auto` and the pass auto-precision search for the best choice of these.
    """
    from onnxq import api
    from onnxq.data.preprocessing import Preprocessing
    from onnxq.files import write_atomically
    from onnxq.pipeline.presets import parse_shapes
    from onnxq.report.sensitivity import as_dict, tables
    from onnxq.report.sensitivity import picture as draw

    if picture is not None:
        check_destination(picture, model)
    with progress() as bar:
        found = api.sensitivity(
            model,
            data,
            target=target,
            options=options,
            measured=samples,
            shapes=None if fix_shapes is None else parse_shapes(fix_shapes),
            preprocessing=Preprocessing.parse(preprocess) if preprocess is not None else None,
            limit=limit,
            seed=seed,
            progress=bar,
        )
    if picture is not None:
        write_atomically(picture, draw(found, top).encode())
    if as_json:
        return result(json.dumps(as_dict(found), indent=1, allow_nan=False))
    return result(*tables(found, top), *([f"drawn to {picture}"] if picture is not None else []))
