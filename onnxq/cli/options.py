"""Options and arguments that several commands share, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "CheckEach",
    "Checkpoints",
    "DataFor",
    "DumpAfter",
    "Explain",
    "FixShapes",
    "Json",
    "Limit",
    "Model",
    "OptionalData",
    "Options",
    "Output",
    "Preprocess",
    "Recipe",
    "Seed",
    "State",
    "TargetName",
    "TimePasses",
    "VerifyEach",
]

_DATA = "A folder of .npz or .npy files or of pictures, one such file, or random:N for smoke tests."

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="The ONNX model.", show_default=False)]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT", help="Where the model goes.", show_default=False)
]
DataFor = Annotated[str, typer.Option("--data", metavar="D", help=_DATA, show_default=False)]
OptionalData = Annotated[str | None, typer.Option("--data", metavar="D", help=_DATA)]
TargetName = Annotated[
    str, typer.Option("--target", metavar="T", help="A name from `onnxq targets`, or a .toml file.")
]
Options = Annotated[
    str,
    typer.Option(
        metavar="TEXT", help="Options of insert-qdq, as in a pipeline: 'symmetric=true activation=int8'."
    ),
]
Recipe = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        metavar="FILE",
        help="A TOML file with rules for single nodes, values and operators.",
        show_default=False,
    ),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="How pictures become the input, such as 'resize=256, scale=1/255, mean=0.5, std=0.5'.",
    ),
]
Limit = Annotated[int | None, typer.Option(metavar="N", help="Take the first N samples only.")]
Seed = Annotated[int, typer.Option(metavar="S", min=0, help="Of everything random.")]
State = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        metavar="OUT=IN",
        help="The output that a step of a sequence hands to an input of the next; may be repeated.",
    ),
]
FixShapes = Annotated[
    str | None,
    typer.Option(
        "--fix-shapes",
        metavar="AXES",
        help="Lengths of open axes, such as 'batch=1, sequence=576'; samples: as in the first sample.",
    ),
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Passes that learn for long keep there what is done; the next run goes on."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

VerifyEach = Annotated[
    bool, typer.Option("--verify-each", help="After each pass check that the graph is well formed.")
]
CheckEach = Annotated[
    bool, typer.Option("--check-each", help="After each pass compare outputs, as its contract says.")
]
TimePasses = Annotated[bool, typer.Option("--time-passes", help="List how long each pass took.")]
DumpAfter = Annotated[
    list[str] | None,
    typer.Option(
        "--dump-after",
        metavar="PASS=FOLDER",
        help="Write the model as it is after that pass; all=FOLDER: after each. May be repeated.",
    ),
]
Explain = Annotated[bool, typer.Option("--explain", help="List what each pass left alone, and why.")]
