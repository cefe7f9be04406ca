"""What a runtime makes of a model, as tables and as JSON."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

from onnxq.evaluate.explain import Explanation
from onnxq.report.table import Table, percent
from onnxq.words import plural

__all__ = ["as_dict", "hazards", "headline", "nodes"]


def headline(found: Explanation) -> Iterator[str]:
    """Coverage, and how often each pattern was found."""
    if not found.nodes:
        yield "no node computes on floats: nothing is left to quantize (verify --integer-only proves it)"
        return
    integer = sum(node.integer for node in found.nodes)
    total = plural(len(found.nodes), "node")
    yield (
        f"{integer} of {total} on integers for the target {found.target} ({percent(found.integer_share)}), "
        f"{percent(found.mac_share)} of the multiplications"
    )
    patterns = Counter(node.pattern for node in found.nodes if node.integer)
    if patterns:
        yield "patterns: " + ", ".join(f"{count} {pattern}" for pattern, count in patterns.most_common())


def nodes(found: Explanation, *, only_float: bool = False) -> Table:
    """Every node, or those that stay float only."""
    rows = [
        (
            n.node,
            n.op,
            n.scope,
            "integer" if n.integer else "float",
            str(n.macs) if n.macs else "-",
            n.pattern,
            n.fix,
        )
        for n in found.nodes
        if not (only_float and n.integer)
    ]
    heads = ["node", "op", "scope", "runs on", ">macs", "pattern or reason", "what would fix it"]
    return Table("" if rows else "no node stays float", heads, rows)


def hazards(found: Explanation) -> Table:
    """The warnings."""
    rows = [(hazard.node, hazard.kind, hazard.text) for hazard in found.hazards]
    return Table(plural(len(rows), "warning") if rows else "no warnings", ["node", "kind", "what"], rows)


def as_dict(found: Explanation) -> dict[str, object]:
    """Plain data for JSON."""
    return {
        "target": found.target,
        "integer_share": found.integer_share,
        "mac_share": found.mac_share,
        "nodes": [asdict(node) for node in found.nodes],
        "warnings": [asdict(hazard) for hazard in found.hazards],
    }
