"""``onnxq inspect``: what a model is."""

from typing import Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.console import result
from onnxq.cli.paths import disk_size

__all__ = ["inspect"]


def inspect(
    model: opt.Model,
    as_outline: Annotated[
        bool, typer.Option("--outline", help="Print the graph instead, one line a node, made for diff.")
    ] = False,
) -> None:
    """Describe a model: its ports, operators, size and history."""
    from onnxq import model_io
    from onnxq.graph.outline import outline
    from onnxq.report.model import facts, operators, ports

    loaded = model_io.load(model)
    if as_outline:
        return result(outline(loaded).rstrip("\n"))
    return result(ports(loaded), "", operators(loaded), "", *facts(loaded, disk_size(model)))
