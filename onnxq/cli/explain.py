"""``onnxq explain``: which nodes of a Q/DQ model a runtime computes on integers, and why not the others."""

import json
from typing import Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.console import result

__all__ = ["explain"]


def explain(
    model: opt.Model,
    target: opt.TargetName = "ort-x86-vnni",
    only_float: Annotated[bool, typer.Option("--float", help="Only the nodes that stay float.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Show what a target's runtime makes of a Q/DQ model, whoever made it.

    For each node the pattern it is fused into, or why it stays float and what would fix that; then warnings
    of slow or saturating kernels, wrong bias scales, and float nodes between integer ones.
    """
    from onnxq import model_io
    from onnxq.evaluate.explain import explain as explain_model
    from onnxq.report.explain import as_dict, hazards, headline, nodes
    from onnxq.targets.target import load_target

    found = explain_model(model_io.load(model), load_target(target))
    if as_json:
        return result(json.dumps(as_dict(found), indent=1))
    return result(*headline(found), "", nodes(found, only_float=only_float), "", hazards(found))
