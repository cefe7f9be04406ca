"""What layer and RMS normalization share: dividing by ``s = √(mean(d²) + epsilon)``, then gain and bias."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, rank, scalar
from onnxq.graph.polynomial import Polynomial, ancestors, read, readings
from onnxq.graph.rewriter import AttributeValue
from onnxq.passes.fusion._operator_fusion import Fusion, saves_work
from onnxq.passes.fusion._weights import as_weight, weights

__all__ = ["Deviation", "Layout", "deviation", "fuse_normalization", "normalized", "root_power"]


@dataclass(frozen=True)
class Layout:
    """A normalization over the last ``axes``, once transposed by ``perm``."""

    axes: int
    perm: Sequence[int] | None = None


@dataclass(frozen=True)
class Deviation:
    """``root`` makes s (``power`` −1: it divides the result) or 1/s (``power`` 1); ``nodes`` end in it."""

    mean: ir.Node
    epsilon: float
    root: ir.Node
    power: int
    nodes: Sequence[ir.Node]


def deviation(root: ir.Node) -> Deviation | None:
    """What a Sqrt, or a Pow by ±½, takes the root of, if that is a mean plus a small number."""
    power, argument = root_power(root), get_input(root, 0)
    if power is None:
        return None
    for value in ancestors(argument):
        mean, line = value.producer(), read(argument, value)
        if mean is None or line is None or not is_op(mean, "ReduceMean"):
            continue
        epsilon = line.polynomial.coefficient()
        if epsilon >= 0 and line.polynomial.is_close(Polynomial.of(value) + epsilon):
            return Deviation(mean, epsilon, root, power, [mean, *line.nodes, root])
    return None


def root_power(root: ir.Node) -> int | None:
    """−1 for s = √v, which divides; 1 for s = 1/√v; None for another Pow."""
    if not is_op(root, "Pow"):
        return -1
    exponent = scalar(get_input(root, 1))
    return {0.5: -1, -0.5: 1}.get(exponent) if exponent is not None else None


def normalized(mean: ir.Node) -> Layout | None:
    """Over which axes a ReduceMean that keeps its axes reduces; None where that is not known."""
    given = get_input(mean, 1)
    array = constant(given)
    axes = mean.attributes.get_ints("axes") if given is None else None if array is None else array.tolist()
    if not mean.attributes.get_int("keepdims", 1) or (given is not None and axes is None):
        return None
    dims = rank(get_input(mean, 0))
    if not axes:
        every = None if mean.attributes.get_int("noop_with_empty_axes", 0) else dims
        return None if every is None else Layout(every)
    behind = {axis if axis < 0 or dims is None else axis - dims for axis in axes}
    if behind == set(range(-len(behind), 0)):
        return Layout(len(behind))
    if dims is None:
        return None
    last = sorted(axis + dims for axis in behind)
    return Layout(len(last), [*(axis for axis in range(dims) if axis not in last), *last])


def fuse_normalization(
    op_type: str,
    direction: Polynomial,
    atoms: Sequence[ir.Value],
    spread: Deviation,
    before: Sequence[ir.Node],
    *,
    biased: bool,
) -> Fusion | str | None:
    """The operator for ``gain · direction / s + bias``, where ``direction`` is made of ``atoms``, x first.

    Of all results that have that form the last one is taken that leaves s unread. None if there is none, a
    reason if there are only some that cannot be taken.
    """
    x, s, layout = atoms[0], spread.root.outputs[0], normalized(spread.mean)
    reason: str | None = None
    for result in reversed(list(readings(s, *atoms))):
        parts = weights(result.polynomial, direction * Polynomial.of(s) ** spread.power)
        if parts is None or layout is None or (parts.bias.terms and not biased):
            continue
        constants = [parts.gain, parts.bias] if parts.bias.terms else [parts.gain]
        found = [as_weight(part, x, layout.axes, layout.perm) for part in constants]
        inputs = [weight for weight in found if weight is not None]
        nodes = list(dict.fromkeys([*before, *spread.nodes, *result.nodes]))
        if len(inputs) == len(constants) and saves_work(nodes, spread.root):
            attributes: dict[str, AttributeValue] = {"axis": -layout.axes, "epsilon": spread.epsilon}
            return Fusion(op_type, [x, *inputs], attributes, nodes, layout.perm)
        unfit = "its gain or bias does not have the shape of the normalized axes, or that is not known"
        shared = "its deviation is also read outside of it"
        reason = f"is part of a {op_type}, but {shared if len(inputs) == len(constants) else unfit}"
    return reason
