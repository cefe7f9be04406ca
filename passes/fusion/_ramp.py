"""The clamped straight line ``clip(slope · x + offset, low, high)``, which hard activations are made of.

It is exported as Clip, as Relu or Max followed by Min, or as HardSigmoid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import get_input, is_op, producer, scalar
from onnxq.graph.polynomial import Polynomial, ancestors, read

__all__ = ["Ramp", "ramps"]


@dataclass(frozen=True)
class Ramp:
    """One reading of a clamp as a function of ``x``; ``nodes`` end in the clamp."""

    x: ir.Value
    slope: float
    offset: float
    low: float
    high: float
    nodes: Sequence[ir.Node]

    def unit(self, factor: float) -> tuple[float, float] | None:
        """Slope and offset of ``factor · ramp`` if that runs from 0 to 1."""
        if abs(self.low * factor) > 1e-6 or abs(self.high * factor - 1) > 3e-4:
            return None
        return self.slope * factor, self.offset * factor


def ramps(node: ir.Node) -> Iterator[Ramp]:
    """The clamp that ends in ``node`` as a function of the values it is computed from, nearest first."""
    if is_op(node, "HardSigmoid"):
        slope, offset = (node.attributes.get_float(n, d) for n, d in (("alpha", 0.2), ("beta", 0.5)))
        for x in filter(None, [get_input(node, 0)]):
            yield Ramp(x, slope, offset, 0.0, 1.0, [node])
        return
    source, low, high, nodes = _clamp(node)
    for x in ancestors(source):
        line = read(source, x) if source is not None else None
        if line is None or low is None or high is None:
            continue
        slope, offset = line.polynomial.coefficient(x), line.polynomial.coefficient()
        if line.polynomial.is_close(Polynomial.of(x) * slope + offset):
            yield Ramp(x, slope, offset, low, high, [*line.nodes, *nodes])


def _clamp(node: ir.Node) -> tuple[ir.Value | None, float | None, float | None, Sequence[ir.Node]]:
    """What is clamped, between which numbers, by which nodes."""
    if is_op(node, "Clip"):
        return get_input(node, 0), scalar(get_input(node, 1)), scalar(get_input(node, 2)), [node]
    inner, high = _with_number(node)
    if is_op(below := producer(inner), "Relu") and below is not None:
        return get_input(below, 0), 0.0, high, [below, node]
    if is_op(below, "Max") and below is not None:
        source, low = _with_number(below)
        return source, low, high, [below, node]
    return None, None, None, []


def _with_number(node: ir.Node) -> tuple[ir.Value | None, float | None]:
    """The two inputs of a Min or Max of a value and a number."""
    if len(node.inputs) != 2:
        return None, None
    a, b = node.inputs
    return (a, scalar(b)) if scalar(b) is not None else (b, scalar(a))
