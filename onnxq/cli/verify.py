"""``onnxq verify``: is the model well formed, valid and loadable, and does it hold integers only?"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from onnxq.cli import options as opt
from onnxq.cli.console import result
from onnxq.errors import CheckError, ModelError
from onnxq.report.table import Table
from onnxq.words import plural

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxq.targets.target import Target

__all__ = ["verify"]


def verify(
    model: opt.Model,
    integer_only: Annotated[
        bool,
        typer.Option("--integer-only", help="Also prove that nothing is float and no integer overflows."),
    ] = False,
    target: Annotated[
        str | None, typer.Option(metavar="T", help="Also check what this target's toolchain demands.")
    ] = None,
) -> None:
    """Check a model, and if asked its integers or a target's rules.

    Its graph must be well formed, valid ONNX and something that ONNX Runtime loads. Exit code 1 if not.
    """
    from onnxq import model_io
    from onnxq.targets.target import load_target

    wanted = None if target is None else load_target(target)
    loaded = model_io.load(model)
    failures: list[str] = []
    for check, complaint in _checks(loaded):
        result(f"{check}: {complaint or 'ok'}")
        failures += [check] if complaint else []
    if integer_only:
        failures += _certificate(loaded)
    if wanted is not None:
        failures += _rules(loaded, wanted)
    if failures:
        raise CheckError(f"'{model}' fails: {', '.join(failures)}")


def _certificate(model: "ir.Model") -> list[str]:
    """Print what is proven of the model's integers; gives what is not as it should be."""
    from onnx_ir.passes.common import ShapeInferencePass

    from onnxq.evaluate.certificate import certify
    from onnxq.report.certificate import certificate_tables

    found = certify(ShapeInferencePass()(model.clone()).model)
    for table in certificate_tables(found):
        result(table)
    wrong = {"float tensor": found.floats, "word too narrow": found.violations}
    return [plural(len(rows), name) for name, rows in wrong.items() if rows]


def _rules(model: "ir.Model", target: "Target") -> list[str]:
    """Print every breach of a target's rules; gives the rules."""
    from onnxq.targets.rules import check_rules

    found = check_rules(model, target)
    rows = [(finding.rule, finding.where, finding.text, finding.demanded_by) for finding in found]
    title = f"rules of {target.name}: {len(rows) or 'ok'}"
    result(Table(title, ["rule", "where", "what", "demanded by"], rows))
    return list(dict.fromkeys(f"rule {finding.rule}" for finding in found))


def _checks(model: "ir.Model") -> Iterator[tuple[str, str]]:
    """Each check with what it complains of."""
    from onnxq import model_io
    from onnxq.graph.verify import verify as verify_graph
    from onnxq.runtime import Session

    checks: dict[str, Callable[[], object]] = {
        "graph": lambda: verify_graph(model),
        "onnx checker": lambda: model_io.check(model),
        "onnxruntime": lambda: Session(model, threads=1),
    }
    for name, check in checks.items():
        try:
            check()
            yield name, ""
        except ModelError as error:
            yield name, str(error)
