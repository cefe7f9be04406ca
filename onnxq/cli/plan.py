"""``onnxq plan``: what quantize would do, and why."""

import json
from typing import Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.console import result
from onnxq.cli.paths import recipe_file

__all__ = ["plan"]


def plan(
    model: opt.Model,
    target: opt.TargetName = "generic-int8",
    options: opt.Options = "",
    recipe: opt.Recipe = None,
    fix_shapes: opt.FixShapes = None,
    data: Annotated[
        str | None, typer.Option(metavar="D", help="For --fix-shapes samples: where the first sample is.")
    ] = None,
    only_nodes: Annotated[bool, typer.Option("--nodes", help="Only the table of nodes.")] = False,
    only_values: Annotated[bool, typer.Option("--values", help="Only the table of values.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Show what quantize would do to each node and value, and why.

    Nothing is measured, so no data is needed, unless it tells the lengths of open axes.
    """
    from onnxq import api
    from onnxq.errors import UsageError
    from onnxq.pipeline.presets import parse_shapes
    from onnxq.report.plan import as_dict, nodes, values

    shapes = None if fix_shapes is None else parse_shapes(fix_shapes)
    if data is not None and shapes != "samples":
        raise UsageError("plan reads --data for --fix-shapes samples only, as nothing else needs samples")
    wanted = api.with_recipe(options, recipe_file(recipe))
    decisions = api.plan(model, target, wanted, shapes=shapes, data=data)
    if as_json:
        return result(json.dumps(as_dict(decisions), indent=1))
    if only_nodes == only_values:
        return result(nodes(decisions), "", values(decisions))
    return result(nodes(decisions) if only_nodes else values(decisions))
