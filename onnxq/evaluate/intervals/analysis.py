"""The walk: an interval for every value, and every place where a word is too narrow for what it can hold.

Unsigned words count modulo 2^n: Cast, Add, Sub, Mul and a shift to the left may leave the word as long as
what divides, compares or widens reads a number that is back in it. That is how unsigned requantization
carries signs. A shift by n − 1 to the right takes one bit, whatever is above it: a sign, or a parity.

Signed words must never be left. Where they are left by the interval of two operands that depend on each
other (``loose``), intervals are no proof either way: that is ``open``, and nothing is claimed of what
follows. Nor is anything known of integer inputs of 32 bits and more.
"""

from dataclasses import dataclass, field

import onnx_ir as ir

from onnxq.evaluate.intervals.interval import Interval, limits
from onnxq.graph.match import constant
from onnxq.graph.rewriter import describe
from onnxq.graph.scopes import scopes

__all__ = ["Analysis", "Finding", "analyze"]

WIDE = 4
"""Bytes from which on an input is an index, a length or a mask, and any number."""


@dataclass(frozen=True, eq=False)
class Finding:
    """A word too narrow for what a node makes or reads. ``proven``: no relation of operands prevents it."""

    node: ir.Node
    dtype: str
    bits: int
    reason: str
    proven: bool

    def __str__(self) -> str:
        return f"{describe(self.node)}: {self.reason}; it needs {self.bits} bits of {self.dtype}"


@dataclass
class Analysis:
    """Intervals by value; None, or absent: nothing is known."""

    intervals: dict[ir.Value, Interval | None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    roots: dict[ir.Value, frozenset[ir.Value]] = field(default_factory=dict)
    loose: set[ir.Value] = field(default_factory=set)

    def get(self, value: ir.Value | None) -> Interval | None:
        """What a value can be; for a word that wraps, before it wraps."""
        if value is None:
            return None
        if value not in self.intervals:
            self.intervals[value] = _first(value)
        return self.intervals[value]

    def read(self, value: ir.Value | None, node: ir.Node) -> Interval | None:
        """What an operator that does not wrap finds in a word; a finding if the word has wrapped."""
        found = self.get(value)
        if found is None or value is None:
            return None
        dtype = limits(value.dtype)
        if found.within(dtype.least, dtype.greatest):
            return found
        self.report(node, value, found, f"'{value.name}' wraps before {node.op_type} reads it")
        return None

    def report(self, node: ir.Node, value: ir.Value, found: Interval, reason: str) -> None:
        """Note a word that is too narrow."""
        proven = value not in self.loose
        name = "?" if value.dtype is None else value.dtype.name.lower()
        sign = int(value.dtype is not None and value.dtype.is_signed() and found.least >= 0)
        self.findings.append(Finding(node, name, found.bits + sign, reason, proven))

    @property
    def violations(self) -> list[Finding]:
        """Words that are too narrow."""
        return [finding for finding in self.findings if finding.proven]

    @property
    def open(self) -> list[Finding]:
        """Words of which intervals prove nothing."""
        return [finding for finding in self.findings if not finding.proven]


def analyze(model: ir.Model) -> Analysis:
    """Intervals of all integer values of the main graph and its bodies. Types must be known."""
    from onnxq.evaluate.intervals.rules import rule_of

    analysis = Analysis()
    for scope in scopes(model):
        if scope.is_function:
            continue
        for node in scope.graph:
            _relate(analysis, node)
            found = rule_of(node)(node, analysis) if any(map(_is_integer, node.outputs)) else None
            for value in node.outputs:
                analysis.intervals[value] = _kept(analysis, node, value, found)
    return analysis


def _kept(analysis: Analysis, node: ir.Node, value: ir.Value, found: Interval | None) -> Interval | None:
    """The interval, unless a signed word cannot hold it."""
    if value.dtype is None or not _is_integer(value):
        return None
    whole = limits(value.dtype)
    if found is None:
        return whole if value.dtype.itemsize < WIDE else None
    if value.dtype.is_signed() and not found.within(whole.least, whole.greatest):
        analysis.report(node, value, found, f"{node.op_type} can leave its type")
        return None
    return found


def _relate(analysis: Analysis, node: ir.Node) -> None:
    """From which codes a value comes, and whether two operands come from the same."""
    own = [
        analysis.roots.get(v, frozenset({v})) for v in node.inputs if v is not None and constant(v) is None
    ]
    shared = len(own) > 1 and bool(own[0] & own[1])
    inherited = any(value in analysis.loose for value in node.inputs if value is not None)
    roots = frozenset().union(*own) if own else frozenset()
    for value in node.outputs:
        narrow = value.dtype is not None and value.dtype.itemsize < WIDE
        analysis.roots[value] = frozenset({value}) if narrow else roots
        if (shared or inherited) and not narrow:
            analysis.loose.add(value)


def _first(value: ir.Value) -> Interval | None:
    """Of a value that no node makes: a constant, or an input."""
    if (array := constant(value)) is not None and array.dtype.kind in "iub":
        return Interval.constant(array)
    if value.dtype is None or not _is_integer(value) or value.dtype.itemsize >= WIDE:
        return None
    return limits(value.dtype)


def _is_integer(value: ir.Value) -> bool:
    return value.dtype is not None and (value.dtype.is_integer() or value.dtype == ir.DataType.BOOL)
