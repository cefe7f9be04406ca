"""``onnxq targets``: what a model can be made for."""

from typing import Annotated

import typer

from onnxq.cli.console import result
from onnxq.report.table import Table

__all__ = ["targets"]

targets = typer.Typer(rich_markup_mode=None)


@targets.callback(invoke_without_command=True)
def table(context: typer.Context) -> None:
    """List the targets, or show all facts of one."""
    if context.invoked_subcommand is not None:
        return
    from onnxq.targets.target import load_target, target_names

    found = [load_target(name) for name in target_names()]
    rows = [(t.name, t.form, str(t.activation), str(t.weight), str(t.opset), t.summary) for t in found]
    result(Table("", ["target", "form", "activation", "weight", ">opset", "summary"], rows))


@targets.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A target, or a .toml file.", show_default=False)
    ],
) -> None:
    """Print all facts of one target."""
    from onnxq.report.target import facts
    from onnxq.targets.target import load_target

    result(*facts(load_target(name)))
