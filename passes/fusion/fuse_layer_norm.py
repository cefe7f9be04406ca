"""Fuse the normalization to mean 0 and deviation 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import onnx_ir as ir

from onnxq.graph.match import get_input, is_float, is_op, scalar
from onnxq.graph.polynomial import Polynomial, Reading, ancestors, read
from onnxq.passes.fusion._normalization import (
    Deviation,
    deviation,
    fuse_normalization,
    normalized,
    root_power,
)
from onnxq.passes.fusion._operator_fusion import Fusion, OperatorFusion
from onnxq.pipeline.base import Contract

__all__ = ["FuseLayerNorm"]


@dataclass(frozen=True)
class FuseLayerNorm(OperatorFusion):
    """Replace the formula of a layer normalization by the operator LayerNormalization (opset 17).

           d = x − ReduceMean(x)      s = Sqrt(ReduceMean(d²) + epsilon)      over the same axes
           y = d / s · gamma + beta   => y = LayerNormalization(x, gamma, beta) {axis, epsilon}

    with d² as Pow or d · d, d computed once or twice, 1/s as Reciprocal or Pow, and gamma, a number or beta
    anywhere: TensorFlow's x · (gamma / s) + (beta − mean · (gamma / s)) is the same polynomial. JAX's
    variance ReduceMean(x²) − ReduceMean(x)², with or without Max(0, ·), is another spelling. Without a gamma
    it becomes ones. Axes that are not the last ones are transposed there and back. The model's opset is
    raised to 17 if that changes no other node.

    Left alone where the axes are of unknown size, where gamma or beta differ along other axes, or where s is
    read elsewhere too.

    Source: Ba, Kiros, Hinton: Layer Normalization, https://arxiv.org/abs/1607.06450.
    """

    name = "fuse-layer-norm"
    contract = Contract.EXACT
    root = ("Sqrt", "Pow")
    since = 17

    def match(self, node: ir.Node, /) -> Fusion | str | None:
        reason: str | None = None
        for form in (*_by_difference(node), *_by_moments(node)):
            layout = normalized(form.maker)
            if layout is None or layout != normalized(form.spread.mean) or not is_float(form.x):
                reason = "is part of a layer normalization, but not of float32 values over known axes"
                continue
            mean = form.maker.outputs[0]
            direction = Polynomial.of(form.x) - mean
            before = [form.maker, *form.squares.nodes]
            found = fuse_normalization(
                "LayerNormalization", direction, [form.x, mean], form.spread, before, biased=True
            )
            if isinstance(found, Fusion):
                return found
            reason = found or reason
        return reason


@dataclass(frozen=True)
class _Form:
    """The mean of x that ``maker`` makes, and the deviation of x, made of ``squares``."""

    x: ir.Value
    maker: ir.Node
    squares: Reading
    spread: Deviation


def _by_difference(root: ir.Node) -> Iterator[_Form]:
    """s = √(ReduceMean((x − ReduceMean(x))²) + epsilon)."""
    if (spread := deviation(root)) is None or (squares := get_input(spread.mean, 0)) is None:
        return
    for maker, x in _means(squares):
        found = read(squares, x, maker.outputs[0])
        if found is not None and found.polynomial.is_close((Polynomial.of(x) - maker.outputs[0]) ** 2):
            yield _Form(x, maker, found, spread)


def _by_moments(root: ir.Node) -> Iterator[_Form]:
    """s = √(Max(0, ReduceMean(x²) − ReduceMean(x)²) + epsilon)."""
    power, argument = root_power(root), get_input(root, 0)
    if power is None or argument is None:
        return
    for top in (argument, *(v for v in ancestors(argument) if is_op(v.producer(), "Max", "Relu", "Clip"))):
        variance, floor = _above_zero(top)
        line = read(argument, top)
        if line is None:
            continue
        means = list(_means(variance))
        for (mean, x), (power_mean, square) in product(means, means):
            squares = read(square, x)
            if squares is None or not squares.polynomial.is_close(Polynomial.of(x) ** 2):
                continue
            m, q = Polynomial.of(mean.outputs[0]), Polynomial.of(power_mean.outputs[0])
            inner = read(variance, mean.outputs[0], power_mean.outputs[0])
            rest = None if inner is None else (line.polynomial - top + inner.polynomial) - (q - m * m)
            if inner is None or rest is None or rest.terms.keys() - {frozenset()}:
                continue
            nodes = [power_mean, *inner.nodes, *floor, *line.nodes, root]
            if (epsilon := rest.coefficient()) >= 0:
                yield _Form(x, mean, squares, Deviation(power_mean, epsilon, root, power, nodes))


def _means(value: ir.Value) -> Iterator[tuple[ir.Node, ir.Value]]:
    """The ReduceMeans that a value is computed from, each with what it averages."""
    for one in ancestors(value):
        maker = one.producer()
        x = get_input(maker, 0) if maker is not None and is_op(maker, "ReduceMean") else None
        if maker is not None and x is not None:
            yield maker, x


def _above_zero(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """What is cut off below zero to make a value, and the node that does it; the value itself if none."""
    node = value.producer()
    if node is None or len(node.inputs) > 2 or not is_op(node, "Max", "Relu", "Clip"):
        return value, []
    for index, source in enumerate(node.inputs):
        bound = [other for i, other in enumerate(node.inputs) if i != index]
        if source is not None and scalar(source) is None and all(scalar(other) == 0 for other in bound):
            return (source, [node]) if bound or is_op(node, "Relu") else (value, [])
    return value, []
