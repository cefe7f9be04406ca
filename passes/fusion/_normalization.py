"""What layer and RMS normalization share: dividing by ``s = √(mean(d²) + epsilon)``, then gain and bias."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, rank, scalar
from onnxq.graph.numeric import Array
from onnxq.graph.polynomial import Polynomial, ancestors, read, readings
from onnxq.passes.fusion._operator_fusion import Fusion, saves_work
from onnxq.passes.fusion._weights import as_weight, weights

__all__ = ["Deviation", "deviation", "fuse_normalization", "trailing_axes"]


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
    power = -1
    if is_op(root, "Pow"):
        exponent = scalar(get_input(root, 1))
        if exponent not in (0.5, -0.5):
            return None
        power = -1 if exponent == 0.5 else 1
    argument = get_input(root, 0)
    for value in ancestors(argument):
        mean, line = value.producer(), read(argument, value)
        if mean is None or line is None or not is_op(mean, "ReduceMean"):
            continue
        epsilon = line.polynomial.coefficient()
        if epsilon >= 0 and line.polynomial.is_close(Polynomial.of(value) + epsilon):
            return Deviation(mean, epsilon, root, power, [mean, *line.nodes, root])
    return None


def trailing_axes(mean: ir.Node) -> int | None:
    """How many axes a ReduceMean that keeps its axes reduces, if they are the last ones."""
    given = get_input(mean, 1)
    axes = mean.attributes.get_ints("axes") if given is None else _ints(constant(given))
    if not mean.attributes.get_int("keepdims", 1) or (given is not None and axes is None):
        return None
    dims = rank(get_input(mean, 0))
    if not axes:
        return None if mean.attributes.get_int("noop_with_empty_axes", 0) else dims
    behind = {axis if axis < 0 or dims is None else axis - dims for axis in axes}
    return len(behind) if behind == set(range(-len(behind), 0)) else None


def _ints(array: Array | None) -> list[int] | None:
    return None if array is None else [int(axis) for axis in array.reshape(-1)]


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
    x, s, axes = atoms[0], spread.root.outputs[0], trailing_axes(spread.mean)
    reason: str | None = None
    for result in reversed(list(readings(s, *atoms))):
        parts = weights(result.polynomial, direction * Polynomial.of(s) ** spread.power)
        if parts is None or axes is None or (parts.bias.terms and not biased):
            continue
        constants = [parts.gain, parts.bias] if parts.bias.terms else [parts.gain]
        inputs = [weight for part in constants if (weight := as_weight(part, x, axes)) is not None]
        nodes = list(dict.fromkeys([*before, *spread.nodes, *result.nodes]))
        if len(inputs) == len(constants) and saves_work(nodes, spread.root):
            return Fusion(op_type, [x, *inputs], {"axis": -axes, "epsilon": spread.epsilon}, nodes)
        unfit = "its gain or bias does not have the shape of the normalized axes, or that is not known"
        shared = "its deviation is also read outside of it"
        reason = f"is part of a {op_type}, but {shared if len(inputs) == len(constants) else unfit}"
    return reason
