"""``onnxq golden``: what every tensor of an integer model holds on a few samples."""

from pathlib import Path
from typing import Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.console import result

__all__ = ["golden"]


def golden(
    model: opt.Model,
    data: opt.DataFor,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The new folder.", show_default=False)
    ],
    limit: Annotated[int, typer.Option(metavar="N", help="Take the first N samples only.")] = 4,
    max_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Of all arrays together, such as 200MB.")
    ] = "1GB",
    weights: Annotated[bool, typer.Option("--weights", help="Weights in the C header, too.")] = False,
    preprocess: opt.Preprocess = None,
    seed: opt.Seed = 0,
) -> None:
    """Write what every tensor of an integer model holds on some samples.

    Golden vectors for who builds the same in hardware: one .npy a tensor and sample, index.json that says
    what each is, and constants.h with the multipliers, addends, shifts and tables. Samples hold codes, or
    real numbers that become codes by the model's metadata.
    """
    from onnxq.data.preprocessing import Preprocessing
    from onnxq.evaluate.golden import write_golden
    from onnxq.report.table import parse_size, size
    from onnxq.words import plural

    how = Preprocessing.parse(preprocess) if preprocess is not None else None
    made = write_golden(
        model,
        data,
        output,
        limit=limit,
        seed=seed,
        preprocessing=how,
        weights=weights,
        most_bytes=parse_size(max_size),
    )
    tensors, constants = plural(made.tensors, "tensor"), plural(made.constants, "constant")
    result(f"{plural(made.samples, 'sample')} of {tensors}, {constants}: {size(made.size)} in {output}")
