"""A comparison of two models as tables."""

import math
from collections.abc import Iterator, Sequence

from onnxq.evaluate.comparison import Comparison, TensorComparison
from onnxq.report.table import Table, decibel, percent
from onnxq.words import plural

__all__ = ["comparison", "output_lines", "too_far"]


def comparison(found: Comparison) -> Iterator[str | Table]:
    """Outputs, top-1 where there are labels, tensors where they were asked for; the worst tensors first."""
    outputs = sorted(found.outputs, key=_worst_first)
    yield _table(f"outputs over {plural(found.samples, 'sample')}", outputs)
    if found.unmatched:
        yield f"the model under test lacks the outputs {', '.join(found.unmatched)}"
    if found.top1 is not None:
        yield f"top-1: reference {percent(found.top1.reference)}, under test {percent(found.top1.test)}"
    if found.tensors:
        yield _table(f"{plural(len(found.tensors), 'tensor')} of one name, the worst first", found.tensors)


def output_lines(found: Comparison) -> Iterator[str]:
    """One line an output, for a summary."""
    for tensor in found.outputs:
        facts = [f"SQNR {decibel(tensor.sqnr_db)} dB", f"cosine {tensor.cosine:.5f}"]
        facts += [f"max error {tensor.max_error:.3g}"]
        facts += [] if tensor.agreement is None else [f"argmax agreement {percent(tensor.agreement)}"]
        yield f"{tensor.name}: {', '.join(facts)}"


def too_far(found: Comparison, minimum: float) -> str:
    """A sentence on the outputs whose SQNR is not at least ``minimum`` dB; empty if all are."""
    below = [t for t in found.outputs if not t.sqnr_db >= minimum]
    listed = ", ".join(f"'{t.name}' has {decibel(t.sqnr_db)} dB" for t in sorted(below, key=_worst_first))
    return f"SQNR below {minimum:g} dB: {listed}" if below else ""


def _table(title: str, tensors: Sequence[TensorComparison]) -> Table:
    heads = ["tensor", ">sqnr dB", ">max error", ">cosine", ">argmax", ">codes equal", ">codes apart"]
    return Table(title, [*heads, "note"], [_row(tensor) for tensor in tensors])


def _row(tensor: TensorComparison) -> tuple[str, ...]:
    notes = [f"compared with '{tensor.test_name}'"] if tensor.test_name != tensor.name else []
    if tensor.mismatched:
        notes += [f"other size in {plural(tensor.mismatched, 'sample')}"]
    return (
        tensor.name,
        decibel(tensor.sqnr_db),
        f"{tensor.max_error:.4g}",
        f"{tensor.cosine:.6f}",
        "-" if tensor.agreement is None else percent(tensor.agreement),
        "-" if tensor.codes_equal is None else percent(tensor.codes_equal),
        "-" if tensor.codes_max_difference is None else str(tensor.codes_max_difference),
        "; ".join(notes),
    )


def _worst_first(tensor: TensorComparison) -> float:
    return -math.inf if math.isnan(tensor.sqnr_db) else tensor.sqnr_db
