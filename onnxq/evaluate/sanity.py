"""What looks wrong in a graph with trained or imported fake-quant, as data.

    for finding in sanity(model):
        print(finding.value, finding.what, finding.advice)

| kind                | what                                                                              |
|---------------------|-----------------------------------------------------------------------------------|
| ``no-range``        | scale 0, not finite or no normal float32 number: the range never saw data         |
| ``zero-point``      | outside the codes that a Clip or the format leaves: zero is not representable     |
| ``outlier-scale``   | log2 of the scale is further than k·MAD from the median of its kind               |
| ``unquantized``     | a float activation between quantized operators                                    |
| ``integer-weights`` | float weights that are whole multiples of one number: dequantized int8            |
| ``float-weights``   | float weights of an operator whose data is quantized                              |

The deviation is the median absolute one (MAD, times 1.4826, as a normal distribution's sigma). Activations
are judged among each other, channels of a weight within their tensor, biases not at all, since their scales
follow from the others. Scales computed at run time are not judged either. Nothing is edited.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_float, is_op, producer, sole_consumer
from onnxq.graph.numeric import FloatArray
from onnxq.graph.scopes import all_nodes
from onnxq.quant.formats import INT16
from onnxq.quant.grid import weight_grid
from onnxq.quant.operators import LINEAR, operands, weight_axis
from onnxq.quant.qdq import qparams_of

__all__ = ["Finding", "Trouble", "sanity"]

_TINY = float(np.finfo(np.float32).tiny)
_SIGMA = 1.4826
_LEAST_SPREAD = 1.0
"""Scales within a factor of two are alike, however close together the others lie."""

_FEWEST = 5
"""Below so many scales there is no spread to speak of."""


class Trouble(StrEnum):
    """The kinds of findings."""

    NO_RANGE = "no-range"
    ZERO_POINT = "zero-point"
    OUTLIER_SCALE = "outlier-scale"
    UNQUANTIZED = "unquantized"
    INTEGER_WEIGHTS = "integer-weights"
    FLOAT_WEIGHTS = "float-weights"


@dataclass(frozen=True)
class Finding:
    """One place that a user should look at: the value's name, what was found there, and what to do."""

    kind: Trouble
    value: str
    what: str
    advice: str


def sanity(model: ir.Model, *, k: float = 6.0) -> Sequence[Finding]:
    """All findings in graph order, kind by kind; ``k`` deviations make an outlier."""
    quantizers = [node for node in all_nodes(model) if is_op(node, "QuantizeLinear", "DequantizeLinear")]
    found = [*_ranges(quantizers), *_zero_points(quantizers), *_outliers(quantizers, k)]
    return tuple(dict.fromkeys([*found, *_activations(model), *_weights(model)]))


def _ranges(quantizers: Sequence[ir.Node]) -> Iterator[Finding]:
    for node in quantizers:
        scale = constant(get_input(node, 1))
        if scale is None:
            continue
        bad = np.flatnonzero(np.logical_not(scale.reshape(-1).astype(np.float64) >= _TINY))
        bad = bad if bad.size else np.flatnonzero(np.logical_not(np.isfinite(scale.reshape(-1))))
        if bad.size:
            where = (
                f" in {bad.size} of {scale.size} channels, the first is {bad[0]}" if scale.size > 1 else ""
            )
            number = float(scale.reshape(-1)[bad[0]])
            yield Finding(
                Trouble.NO_RANGE,
                _name(node),
                f"its scale is {number:.3g}{where}: the range never saw data",
                "calibrate it: remove the pair and run insert-qdq, which keeps all other trained ranges",
            )


def _zero_points(quantizers: Sequence[ir.Node]) -> Iterator[Finding]:
    for node in quantizers:
        limits, qparams = _limits(node), qparams_of(node)
        if limits is None or qparams is None:
            continue
        zero = qparams.zero_point.astype(np.int64).reshape(-1)
        outside = np.flatnonzero((zero < limits[0]) | (zero > limits[1]))
        if outside.size:
            yield Finding(
                Trouble.ZERO_POINT,
                _name(node),
                f"its zero point {zero[outside[0]]} lies outside the codes {limits[0]} … {limits[1]}",
                "zero (padding, Relu) becomes another number: train with a range that includes zero",
            )


def _limits(node: ir.Node) -> tuple[int, int] | None:
    """The codes that a Clip behind a QuantizeLinear, or in front of it, leaves."""
    qparams = qparams_of(node) if is_op(node, "QuantizeLinear") else None
    if qparams is None:
        return None
    behind, before = sole_consumer(node.outputs[0], "Clip"), producer(node, 0, "Clip")
    clip = behind if behind is not None else before
    bounds = [] if clip is None else [constant(get_input(clip, i)) for i in (1, 2)]
    if not bounds or any(bound is None for bound in bounds):
        return None
    if behind is not None:
        low, high = (int(bound.reshape(-1)[0]) for bound in bounds if bound is not None)
        return low, high
    given = [np.broadcast_to(b.astype(np.float32), qparams.scale.shape) for b in bounds if b is not None]
    low, high = (int(qparams.quantize(b).reshape(-1)[0]) for b in given)
    return low, high


def _outliers(quantizers: Sequence[ir.Node], k: float) -> Iterator[Finding]:
    activations: list[tuple[ir.Node, float]] = []
    for node in quantizers:
        scale, qparams = constant(get_input(node, 1)), qparams_of(node)
        bias = qparams is not None and qparams.format.bits > INT16.bits
        if scale is None or bias or not np.all(scale.astype(np.float64) >= _TINY):
            continue
        if scale.size > 1:
            yield from _outlier_channels(node, scale.reshape(-1).astype(np.float64), k)
        elif is_op(node, "QuantizeLinear") and constant(get_input(node, 0)) is None:
            activations.append((node, float(scale.reshape(-1)[0])))
    scales = np.array([scale for _, scale in activations])
    for i, distance in _far(scales, k):
        yield _outlier(activations[i][0], float(scales[i]), distance, "the other activations' scales")


def _outlier_channels(node: ir.Node, scale: FloatArray, k: float) -> Iterator[Finding]:
    far = sorted(_far(scale, k), key=lambda item: -item[1])
    if far and is_op(node, "DequantizeLinear"):
        channel, distance = far[0]
        others = f"the scales of its {scale.size - 1} other channels (channel {channel}; {len(far)} in all)"
        yield _outlier(node, float(scale[channel]), distance, others)


def _outlier(node: ir.Node, scale: float, distance: float, others: str) -> Finding:
    what = f"its scale {scale:.3g} is {distance:.1f} deviations from {others}"
    advice = (
        "look at the range: an untrained quantizer, a dead channel or a true outlier; equalize or recalibrate"
    )
    return Finding(Trouble.OUTLIER_SCALE, _name(node), what, advice)


def _far(scales: FloatArray, k: float) -> Iterator[tuple[int, float]]:
    """Which scales are further than k deviations from the median of their logarithms, and how far."""
    if scales.size < _FEWEST:
        return
    logs = np.log2(scales)
    away = np.abs(logs - np.median(logs))
    deviation = max(float(np.median(away)) * _SIGMA, _LEAST_SPREAD)
    for i in np.flatnonzero(away > k * deviation):
        yield int(i), float(away[i] / deviation)


def _activations(model: ir.Model) -> Iterator[Finding]:
    """Data of linear operators that no quantizer makes, in a model whose other activations are quantized."""
    linear = [node for node in all_nodes(model) if is_op(node, *LINEAR)]
    read = [(node, node.inputs[i]) for node in linear for i in operands(node).data]
    quantized = sum(is_op(producer(value), "DequantizeLinear") for _, value in read)
    if 2 * quantized < len(read):
        return
    for node, value in read:
        if value is None or not is_float(value) or constant(value) is not None:
            continue
        if not is_op(producer(value), "DequantizeLinear"):
            yield Finding(
                Trouble.UNQUANTIZED,
                value.name or "",
                f"{node.op_type} reads it as a float; {quantized} of {len(read)} such inputs are quantized",
                "calibrate the gap: insert-qdq adds what is missing and keeps trained ranges",
            )


def _weights(model: ir.Model) -> Iterator[Finding]:
    for node in all_nodes(model):
        index = operands(node).weight if is_op(node, *LINEAR) else None
        value = None if index is None else get_input(node, index)
        array = constant(value)
        if value is None or array is None or array.dtype != np.float32 or array.ndim < 2:
            continue
        grid = weight_grid(array, weight_axis(node, array.ndim))
        if grid is not None:
            scale = f"{float(grid.scale.reshape(-1)[0]):.4g}" + (" …" if grid.scale.size > 1 else "")
            what = f"its weights are whole multiples of {scale}: the model was dequantized from {grid.format}"
            yield Finding(
                Trouble.INTEGER_WEIGHTS, value.name or "", what, "run recover-grid before insert-qdq"
            )
        elif is_op(producer(node, 0), "DequantizeLinear"):
            what = f"{node.op_type} multiplies quantized data by float weights"
            advice = "run insert-qdq: it quantizes them and keeps what is quantized"
            yield Finding(Trouble.FLOAT_WEIGHTS, value.name or "", what, advice)


def _name(node: ir.Node) -> str:
    """The real value of a quantizer: what goes into Q, what comes out of DQ."""
    value = node.inputs[0] if is_op(node, "QuantizeLinear") else node.outputs[0]
    return (value.name if value is not None else None) or ""
