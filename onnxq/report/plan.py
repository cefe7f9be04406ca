"""A plan as tables and as JSON."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields

from onnxq.quant.plan import NodeDecision, Plan, ValueDecision
from onnxq.report.table import Table
from onnxq.words import listed, plural

__all__ = ["as_dict", "headline", "left_float", "nodes", "reasons", "values", "widened"]

_REASONS = 12
"""How many lines a summary spends on reasons."""


def headline(plan: Plan) -> str:
    """``23 of 26 nodes on integers for the target generic-int8``."""
    total = plural(plan.quantized_nodes + len(left_float(plan)), "node")
    return f"{plan.quantized_nodes} of {total} on integers for the target {plan.target}"


def nodes(plan: Plan) -> Table:
    """Every node: whether it is quantized, and why."""
    rows = [(n.node, n.op, n.scope, _runs_on(n), n.reason) for n in plan.nodes]
    return Table(headline(plan), ["node", "op", "scope", "runs on", "why"], rows)


def widened(plan: Plan) -> Iterator[str]:
    """``36 values in uint16: decodes outputs of the model``, one line for each reason."""
    found = Counter((str(value.format), value.why) for value in plan.values if value.why)
    for (dtype, why), count in found.items():
        yield f"{plural(count, 'value')} in {dtype}: {why}"


def _runs_on(node: NodeDecision) -> str:
    """Nothing where there is nothing to compute: Q/DQ, and work on shapes and indices."""
    return "integer" if node.quantized else "float" if node.floats else "-"


def values(plan: Plan) -> Table:
    """Every value that gets Q/DQ: dtype, granularity, scale group, why its dtype is an unusual one."""
    title = f"{plural(len(plan.values), 'value')} with Q/DQ, {len(plan.groups)} scale groups"
    heads = ["value", "role", "dtype", "zero point", "granularity", "scale group", "range", "why"]
    return Table(title, heads, [_value_row(value) for value in plan.values])


def left_float(plan: Plan) -> tuple[NodeDecision, ...]:
    """The nodes that compute on floats; not those that hold none, nor Q/DQ that is there already."""
    return tuple(node for node in plan.nodes if not node.quantized and node.floats)


def reasons(plan: Plan) -> Iterator[str]:
    """One line for each reason why nodes are not quantized, the most frequent first.

    Reasons that differ only in the body of an If or Loop that a node stands in count as one.
    """
    grouped: dict[str, Counter[str]] = {}
    for node in left_float(plan):
        reason = node.reason if node.scope == "main" else node.reason.replace(node.scope, "…")
        grouped.setdefault(reason, Counter())[node.op] += 1
    ordered = sorted(grouped.items(), key=lambda item: -item[1].total())
    for reason, ops in ordered[:_REASONS]:
        names = listed(f"{count} {op}" for op, count in ops.most_common())
        yield f"{names}: {reason}"
    if ordered[_REASONS:]:
        yield f"and {plural(len(ordered) - _REASONS, 'other reason')}, which --explain lists by node"


def as_dict(plan: Plan) -> dict[str, object]:
    """The plan as plain data for JSON."""
    return {
        "target": plan.target,
        "nodes": [_plain(node) for node in plan.nodes],
        "values": [_plain(value) | {"granularity": value.granularity} for value in plan.values],
    }


def _value_row(value: ValueDecision) -> tuple[str, ...]:
    low_high = "measured" if value.fixed is None else f"{value.fixed[0]:g} to {value.fixed[1]:g}"
    return (
        value.value,
        str(value.role),
        str(value.format),
        "0" if value.symmetric and value.format.signed else "free" if not value.symmetric else "middle",
        value.granularity,
        value.group,
        low_high if value.role == "activation" else "constant",
        value.why,
    )


def _plain(decision: NodeDecision | ValueDecision) -> dict[str, object]:
    made = {field.name: getattr(decision, field.name) for field in fields(decision)}
    return made | {"format": str(decision.format)} if isinstance(decision, ValueDecision) else made
