"""``onnxq stats``: statistics files that calibrate has written."""

from pathlib import Path
from typing import Annotated

import typer

from onnxq.cli.console import result
from onnxq.cli.paths import check_destination

__all__ = ["stats"]

stats = typer.Typer(rich_markup_mode=None, help="Show and merge statistics files of `onnxq calibrate`.")


@stats.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .stats.npz file.", show_default=False)],
    value: Annotated[
        str | None, typer.Option(metavar="NAME", help="Draw this value with the range of every method.")
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="D", help="The codes the ranges are for.")] = "uint8",
    symmetric: Annotated[bool, typer.Option("--symmetric", help="Ranges from -t to t.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Write the drawing of --value as a picture too.")
    ] = None,
) -> None:
    """Print what a statistics file holds, or draw one value with the range that each method gives it."""
    from onnxq.calibration import describe
    from onnxq.calibration.store import StatisticsFile
    from onnxq.files import write_atomically
    from onnxq.report.statistics import chosen, histogram_of, origin, ranges

    found = StatisticsFile.load(file)
    if value is None:
        return result(*origin(found), "", ranges(found))
    histogram = histogram_of(found, value)
    ends = chosen(histogram, dtype, symmetric=symmetric)
    lines = [describe.sketch(histogram, ends).rstrip("\n")]
    if picture is not None:
        check_destination(picture, file)
        write_atomically(picture, describe.picture(histogram, ends, value).encode())
        lines.append(f"written to {picture}")
    return result(*lines)


@stats.command()
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="The parts.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Where the sum goes.", show_default=False)
    ],
) -> None:
    """Make one statistics file of several that have counted different samples of the same data."""
    from onnxq.calibration.store import StatisticsFile, merge_files
    from onnxq.report.statistics import origin

    check_destination(output, *files)
    merged = merge_files([StatisticsFile.load(file) for file in files])
    merged.save(output)
    result(*origin(merged), f"written to {output}")
