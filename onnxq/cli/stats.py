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
) -> None:
    """Print what a statistics file holds."""
    from onnxq.calibration.store import StatisticsFile
    from onnxq.report.statistics import origin, ranges

    found = StatisticsFile.load(file)
    result(*origin(found), "", ranges(found))


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
