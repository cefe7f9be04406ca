"""How much noise in each channel of a value matters: what its readers make of it, relative to the signal.

Noise is followed backwards from the outputs through the squares of the derivatives,

    G_x[c] = Σ_readers E[(∂y/∂x_c)²] · G_y          linear: Σ_o ‖W_oc‖² G_y[o],   f(x): E[f'(x)²] G_y

and at every value G is divided by the power of the signal in the same measure, Σ_c G[c] · Var(x_c): the
absolute gain through dozens of layers cannot be told from statistics, and the ratio between the channels of
one value is what decides their scales. Noise of different elements is taken as independent.
"""

from collections.abc import Callable, Mapping
from math import erf, pi, prod, sqrt
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, scalar
from onnxq.graph.numeric import Array, FloatArray
from onnxq.quant.channel_scale.linear import read_weight
from onnxq.quant.channel_scale.moves import MOVES, align, move
from onnxq.quant.channel_scale.spread import Spread

__all__ = ["importance", "passed"]

Spreads = Mapping[ir.Value, Spread]

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def importance(graph: ir.Graph, spreads: Spreads) -> dict[ir.Value, FloatArray]:
    """The weight of every value of ``spreads``, float64 of its spread's shape."""
    gathered: dict[ir.Value, FloatArray] = {
        output: _flat(spreads[output]) for output in graph.outputs if output in spreads
    }
    for node in reversed(list(graph)):
        for output in node.outputs:
            if output in gathered:
                gathered[output] = _relative(gathered[output], spreads[output])
        for value in dict.fromkeys(node.inputs):
            if value is None or value not in spreads:
                continue
            share = _fit(_share(node, value, gathered, spreads), spreads[value].shape)
            gathered[value] = gathered[value] + share if value in gathered else share
    for value in graph.inputs:
        if value in gathered:
            gathered[value] = _relative(gathered[value], spreads[value])
    return gathered


def _relative(weight: FloatArray, spread: Spread) -> FloatArray:
    return weight / max(float((weight * _variance(spread)).mean()), _SILENT)


def _flat(spread: Spread) -> FloatArray:
    """The same for all channels."""
    return np.full(spread.shape, 1 / max(float(_variance(spread).mean()), _SILENT))


_SILENT = 1e-30


def _fit(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Averaged over the axes that ``shape`` does not keep."""
    wide = align(array, len(shape)) if array.ndim < len(shape) else array
    if wide.ndim > len(shape):
        wide = wide.mean(tuple(range(wide.ndim - len(shape))))
    over = tuple(i for i, size in enumerate(shape) if size == 1)
    return np.broadcast_to(wide.mean(over, keepdims=True), shape)


def _share(
    node: ir.Node, value: ir.Value, done: Mapping[ir.Value, FloatArray], spreads: Spreads
) -> FloatArray:
    output, spread = node.outputs[0], spreads[value]
    if output not in done:
        return _flat(spread)
    given = done[output]
    if (weight := read_weight(node)) is not None and value is node.inputs[weight.data]:
        behind = np.broadcast_to(given.reshape(-1), (weight.outputs,))
        power = np.einsum("goik,goik->goi", weight.matrix, weight.matrix)
        per_input = np.einsum("goi,go->gi", power, behind.reshape(power.shape[:2])).reshape(-1)
        return _at(per_input, weight.axis, spread.shape)
    if is_op(node, *SLOPES):
        return given * _expected(SLOPES[node.op_type](node), spread)
    if is_op(node, "Mul", "Div", "MatMul"):
        return _product(node, value, given, spreads)
    if is_op(node, "Add", "Sub", "Sum"):
        return given
    if is_op(node, *MOVES) and (moved := _moved(node, value, given, spreads)) is not None:
        return moved
    if (
        is_op(node, "LayerNormalization", "RMSNormalization")
        and (gain := constant(node.inputs[1])) is not None
    ):
        return given * np.square(gain.astype(np.float64))
    return _flat(spread)


def _variance(spread: Spread) -> FloatArray:
    return np.maximum(spread.mean_square - spread.mean**2, 0.0)


def passed(node: ir.Node | None, spreads: Spreads) -> FloatArray | None:
    """How much of a value a Relu or Clip lets through, per channel: what it cuts has a code of its own."""
    x = None if node is None else node.inputs[0]
    if node is None or x is None or x not in spreads or not is_op(node, "Relu", "Clip"):
        return None
    return _expected(SLOPES[node.op_type](node), spreads[x])


def _at(per_channel: FloatArray, axis: int, shape: tuple[int, ...]) -> FloatArray:
    placed = [1] * len(shape)
    placed[axis] = per_channel.size
    return per_channel.reshape(placed)


def _product(node: ir.Node, value: ir.Value, given: FloatArray, spreads: Spreads) -> FloatArray:
    """The other factor's mean square, along the axes that both share."""
    other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    factor = constant(other)
    if factor is not None:
        square = np.square(factor.astype(np.float64)) if is_op(node, "Mul") else np.ones(())
        return given * square if square.ndim <= given.ndim else given
    if other is None or other not in spreads:
        return given
    square = spreads[other].mean_square
    if is_op(node, "MatMul"):
        square = np.swapaxes(square, -1, -2)
        left = node.inputs[0] is value
        given = given.mean(-1 if left else -2, keepdims=True) if square.size > 1 else given
    return given * square if is_op(node, "Mul", "MatMul") else given


def _moved(node: ir.Node, value: ir.Value, given: FloatArray, spreads: Spreads) -> FloatArray | None:
    """Sum what lies behind each element, by moving the elements' positions."""
    sources = node.inputs if is_op(node, "Concat") else node.inputs[:1]
    shapes = [spreads[v].shape if v is not None and v in spreads else (1,) * given.ndim for v in sources]
    starts = np.cumsum([0, *(prod(shape) for shape in shapes)])
    places = [np.arange(prod(s)).reshape(s) + start for s, start in zip(shapes, starts[:-1], strict=True)]
    made = move(node, places)
    if made is None or value not in sources:
        return None
    first = sources.index(value)
    if given.ndim != made[0].ndim or any(
        want not in (1, have) for want, have in zip(given.shape, made[0].shape, strict=True)
    ):
        return np.full(shapes[first], given.mean())
    behind = np.broadcast_to(given, made[0].shape)
    total = np.bincount(made[0].reshape(-1), behind.reshape(-1), int(starts[-1])).astype(np.float64)
    return total[starts[first] : starts[first + 1]].reshape(shapes[first])


# --- functions of one value -------------------------------------------------------------------------

Curve = Callable[[FloatArray], Array]


def _expected(slope: Curve, spread: Spread) -> FloatArray:
    """E[f'(x)²] per channel, x taken as normal with the measured mean and variance."""
    deviation = np.sqrt(np.maximum(spread.mean_square - spread.mean**2, 0.0))
    x = spread.mean[..., None] + deviation[..., None] * _NODES
    power: FloatArray = (np.square(slope(x)) * _WEIGHTS).sum(-1)
    return np.maximum(power, 1e-6)


def _sigmoid(x: FloatArray) -> FloatArray:
    result: FloatArray = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
    return result


def _swish(node: ir.Node) -> Curve:
    a = node.attributes.get_float("alpha", 1.0)
    return lambda x: _sigmoid(a * x) * (1 + a * x * (1 - _sigmoid(a * x)))


def _clip(node: ir.Node) -> Curve:
    low, high = scalar(get_input(node, 1)), scalar(get_input(node, 2))
    return lambda x: (x > (-np.inf if low is None else low)) & (x < (np.inf if high is None else high))


def _gelu(node: ir.Node) -> Curve:
    normal = np.vectorize(lambda x: 0.5 * (1 + erf(x / sqrt(2))))
    return lambda x: normal(x) + x * np.exp(-x * x / 2) / sqrt(2 * pi)


SLOPES: Mapping[str, Callable[[ir.Node], Curve]] = MappingProxyType(
    {
        "Relu": lambda node: lambda x: x > 0,
        "Clip": _clip,
        "Swish": _swish,
        "HardSwish": lambda node: lambda x: np.where(x > 3, 1.0, np.where(x < -3, 0.0, x / 3 + 0.5)),
        "Gelu": _gelu,
    }
)
