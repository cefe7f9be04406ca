"""Fake quantization taken apart: LSQ, PACT, DoReFa and everything written with plain arithmetic.

    u = x / s  (or x · 1/s),  [+ z],  [clip]        r = round(u)        y = ([clip] r [− z]) · s  (or / n)

in any of the usual orders, with learned s and z as constants:

    LSQ      round(clip(x/s, low, high)) · s                    Esser et al. 2020, arXiv:1902.08153
    LSQ+     round(clip((x − β)/s, low, high)) · s + β          Bhalgat et al. 2020, arXiv:2004.09576
    PACT     round(clip(x, 0, α) · n/α) · α/n                   Choi et al. 2018, arXiv:1805.06085
    DoReFa   2 · round(n · (tanh w / 2 max|tanh w| + ½)) / n − 1        Zhou et al. 2016, arXiv:1606.06160

Everything before Round is read as one straight line u = a·x + b with clips, everything behind as
y = c·r + d with clips. It is a quantizer of scale c and zero point z = −d/c if a·c = 1 and b = z. A clip at
any place is a clip of the codes, since rounding keeps order: round(clip(u, p, q)) = clip(round(u), round p,
round q). A straight-through estimator's detour, (q − w) + w, is q.

Of several readings the longest counts. Where β of LSQ+ is no multiple of s, only what lies between − β and
+ β is a quantizer, and these two stay.

Constants need no straight line before the Round: their codes are computed as written. Their levels may leave
out zero half-way, as DoReFa's do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, is_op, sole_consumer
from onnxq.graph.numeric import Array, FloatArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.fake_quant.parameters import Refused, channel_axis, floats, settled
from onnxq.passes.importing.fake_quant.quantizer import Quantizer, emit

__all__ = ["round_chain"]

_RTOL = 1e-5
"""How far 1/s may be from s, each rounded to float32 or computed from another."""

_HALF = 1e-3
"""How far, in codes, zero may be from a level or from the middle of two."""

_LONGEST = 12


@dataclass(frozen=True, eq=False)
class _Line:
    """``a·x + b``, clipped to ``low … high``; all float64 arrays that broadcast to x."""

    a: FloatArray = field(default_factory=lambda: np.ones(()))
    b: FloatArray = field(default_factory=lambda: np.zeros(()))
    low: FloatArray = field(default_factory=lambda: np.full((), -np.inf))
    high: FloatArray = field(default_factory=lambda: np.full((), np.inf))


@dataclass(frozen=True, eq=False)
class _Step:
    """One node: ``v·factor + term`` and then a clip to ``low … high``."""

    node: ir.Node
    source: ir.Value
    factor: FloatArray
    term: FloatArray
    low: FloatArray
    high: FloatArray


def round_chain(node: ir.Node, rw: Rewriter) -> None:
    """The quantizer round a Round, if there is one; any other Round is left alone without a word."""
    source = get_input(node, 0)
    if source is None:
        return
    real = settled(source)
    if real is not None:
        _fold_constant(node, real, rw)
        return
    ends = list(_behind(node))[::-1]
    for x, first, before in list(_before(source))[::-1]:
        for last, behind in ends:
            if (q := _quantizer(x, before, behind)) is not None:
                rw.replace([*first, node, *last], emit(x, q, rw))
                return


def _fold_constant(node: ir.Node, real: Array, rw: Rewriter) -> None:
    """The longest chain behind the Round whose result is an even grid becomes codes behind one DQ."""
    codes = np.rint(real.astype(np.float32)).astype(np.float64)
    for nodes, line in reversed(list(_behind(node))):
        y = settled(nodes[-1].outputs[0]) if nodes else None
        if y is None or not np.all(line.a > 0):
            continue
        clipped = np.clip(codes, line.low, line.high)
        zero = -line.b / line.a
        halves = float(np.max(np.abs(2 * zero - np.rint(2 * zero)))) <= _HALF
        atol = _RTOL * float(line.a.min())
        if not halves or not np.allclose(clipped * line.a + line.b, y, rtol=_RTOL, atol=atol):
            continue
        kind, shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(codes.shape)
        like = ir.Value(name=nodes[-1].outputs[0].name, shape=shape, type=kind)
        axis, (scale, middle) = channel_axis(like, line.a, zero)
        limit = int(np.abs(clipped).max(initial=0)) + 1
        q = Quantizer(scale, middle, -limit, limit, axis)
        rw.replace([node, *nodes], emit(like, q, rw, codes=clipped))
        return


def _quantizer(x: ir.Value, before: _Line, behind: _Line) -> Quantizer | None:
    """Both lines as one quantizer of x; None if they are none."""
    if not (np.all(behind.a > 0) and np.allclose(before.a * behind.a, 1, rtol=_RTOL, atol=0)):
        return None
    zero = -behind.b / behind.a
    whole = float(np.max(np.abs(zero - np.rint(zero)))) <= _HALF
    if not whole or not np.allclose(before.b, zero, rtol=_RTOL, atol=_HALF):
        return None
    low = np.maximum(np.rint(before.low), np.ceil(behind.low - _RTOL))
    high = np.minimum(np.rint(before.high), np.floor(behind.high + _RTOL))
    if not (np.isfinite(low).all() and np.isfinite(high).all()) or np.ptp(low) or np.ptp(high):
        return None
    axis, (scale, middle) = channel_axis(x, np.asarray(behind.a), np.asarray(zero))
    return Quantizer(scale, middle, int(low.reshape(-1)[0]), int(high.reshape(-1)[0]), axis)


def _before(value: ir.Value) -> Iterator[tuple[ir.Value, Sequence[ir.Node], _Line]]:
    """Where the line into a Round may begin, nearest first: the nodes and the line from there."""
    line, x, nodes = _Line(), value, list[ir.Node]()
    yield x, [], line
    for _ in range(_LONGEST):
        step = _read(x.producer(), None)
        if step is None:
            return
        bounds = (line.a * bound + line.b for bound in (step.low, step.high))
        low, high = (np.clip(bound, line.low, line.high) for bound in bounds)
        line = _Line(line.a * step.factor, line.a * step.term + line.b, low, high)
        if not np.all(line.a > 0):
            return
        x = step.source
        nodes.insert(0, step.node)
        yield x, list(nodes), line


def _behind(node: ir.Node) -> Iterator[tuple[Sequence[ir.Node], _Line]]:
    """Every end of the line behind a Round, nearest first: the nodes up to there, and y in codes."""
    line, nodes, value = _Line(), list[ir.Node](), node.outputs[0]
    yield list(nodes), line
    for _ in range(_LONGEST):
        if (detour := _straight_through(value)) is not None:
            nodes += detour
        else:
            step = _read(sole_consumer(value), value)
            if step is None:
                return
            line = _extend(line, step)
            nodes.append(step.node)
        value = nodes[-1].outputs[0]
        yield list(nodes), line


def _extend(line: _Line, step: _Step) -> _Line:
    """The line after one more node, its clip as bounds of the codes."""
    line = replace(line, a=line.a * step.factor, b=line.b * step.factor + step.term)
    with np.errstate(all="ignore"):
        least, most = ((bound - line.b) / line.a for bound in (step.low, step.high))
    return replace(line, low=np.clip(line.low, least, most), high=np.clip(line.high, least, most))


def _straight_through(value: ir.Value) -> Sequence[ir.Node] | None:
    """The nodes of ``(value − w) + w``."""
    sub = sole_consumer(value, "Sub")
    if sub is None or sub.inputs[0] is not value:
        return None
    add = sole_consumer(sub.outputs[0], "Add")
    return [sub, add] if add is not None and sub.inputs[1] in add.inputs else None


def _read(node: ir.Node | None, source: ir.Value | None) -> _Step | None:
    """One node as a step of its input ``source``, or of the one that is no constant."""
    if node is None or not is_op(node, *_ARITHMETIC, *_CLAMPS):
        return None
    others = [v for v in node.inputs if v is not None and v is not source]
    if source is None:
        varying = [v for v in others if settled(v) is None]
        if len(varying) != 1:
            return None
        source = varying[0]
    index = list(node.inputs).index(source)
    arrays = [None if v is None or v is source else settled(v) for v in node.inputs]
    if any(v is not None and v is not source and a is None for v, a in zip(node.inputs, arrays, strict=True)):
        return None
    try:
        given = [None if a is None else floats(a, "parameter") for a in arrays]
    except Refused:
        return None
    return _step(node, source, index, given)


def _step(node: ir.Node, source: ir.Value, index: int, given: Sequence[FloatArray | None]) -> _Step | None:
    step = _Step(node, source, np.ones(()), np.zeros(()), np.full((), -np.inf), np.full((), np.inf))
    if is_op(node, "Identity"):
        return step
    if is_op(node, "Relu"):
        return replace(step, low=np.zeros(()))
    if is_op(node, "Clip"):
        low, high = (given[i] if i < len(given) else None for i in (1, 2))
        step = step if low is None else replace(step, low=low)
        return (step if high is None else replace(step, high=high)) if index == 0 else None
    other = next((array for array in given if array is not None), None)
    if other is None or len(given) != 2:
        return None
    if is_op(node, "Max", "Min"):
        return replace(step, low=other) if is_op(node, "Max") else replace(step, high=other)
    if is_op(node, "Add"):
        return replace(step, term=other)
    if is_op(node, "Mul"):
        return replace(step, factor=other)
    if index == 0 and is_op(node, "Sub"):
        return replace(step, term=-other)
    return replace(step, factor=1 / other) if index == 0 and is_op(node, "Div") and other.all() else None


_ARITHMETIC = ("Add", "Div", "Identity", "Mul", "Sub")
_CLAMPS = ("Clip", "Max", "Min", "Relu")
