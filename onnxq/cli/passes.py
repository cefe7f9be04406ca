"""``onnxq passes``: what a pipeline can be made of."""

from typing import Annotated

import typer

from onnxq.cli.console import result
from onnxq.report.table import Table

__all__ = ["passes"]


def passes(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show one pass in full.", show_default=False)
    ] = None,
    presets: Annotated[bool, typer.Option("--presets", help="List the presets and their texts.")] = False,
) -> None:
    """List the passes, or show one with all its options."""
    from onnxq.pipeline.presets import PRESETS
    from onnxq.pipeline.registry import all_passes, find
    from onnxq.report.passes import describe, table

    if name is not None and name in PRESETS:
        return result(f"{name} is a preset: {PRESETS[name].description}", f"  {PRESETS[name].text}")
    if name is not None:
        return result(describe(find(name)))
    if presets:
        rows = [(key, preset.description, preset.text) for key, preset in PRESETS.items()]
        return result(Table("", ["preset", "for", "text"], rows))
    return result(table(all_passes()))
