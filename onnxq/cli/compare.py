"""``onnxq compare``: how far one model is from another."""

from pathlib import Path
from typing import Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.console import progress, result
from onnxq.errors import CheckError

__all__ = ["compare"]


def compare(
    reference: Annotated[
        Path, typer.Argument(metavar="A", help="The reference, such as the float model.", show_default=False)
    ],
    test: Annotated[Path, typer.Argument(metavar="B", help="The model under test.", show_default=False)],
    data: opt.DataFor,
    per_tensor: Annotated[
        bool, typer.Option("--per-tensor", help="Also every tensor inside that both models have.")
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(metavar="L.npy", help="Class indices: top-1 of both models.")
    ] = None,
    label_offset: Annotated[int, typer.Option(metavar="K", help="Index of class 0 in the output.")] = 0,
    min_sqnr: Annotated[
        float | None, typer.Option(metavar="DB", help="Exit with 1 if an output has less.")
    ] = None,
    no_optimize: Annotated[
        bool, typer.Option("--no-optimize", help="Compute both graphs exactly as they are written.")
    ] = False,
    state: opt.State = None,
    preprocess: opt.Preprocess = None,
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Compare two models on the same samples.

    For each output: SQNR, largest error, cosine, argmax agreement. Samples are named and typed as A
    takes them. A model that takes or gives integer codes is fed and read through the scales in its
    metadata.
    """
    from onnxq import api, model_io
    from onnxq.data.preprocessing import Preprocessing
    from onnxq.data.sequences import parse_state
    from onnxq.evaluate.compare import compare as measure
    from onnxq.report.comparison import comparison, too_far

    how = Preprocessing.parse(preprocess) if preprocess is not None else None
    models = model_io.load(reference), model_io.load(test)
    carried = parse_state(state or ())
    samples = api.load_samples(models[0], data, state=carried, preprocessing=how, limit=limit, seed=seed)
    with progress() as bar:
        found = measure(
            *models,
            samples,
            per_tensor=per_tensor,
            labels=labels,
            label_offset=label_offset,
            optimize=not no_optimize,
            progress=bar,
        )
    result(*([found.to_json()] if as_json else comparison(found)))
    if min_sqnr is not None and (complaint := too_far(found, min_sqnr)):
        raise CheckError(complaint)
