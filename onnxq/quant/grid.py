"""Float weights that were integers once: finding the scale they were dequantized with.

    w = fl32(q · s),  q whole, |q| ≤ 255          =>  q and s, such that fl32(q · s) gives every w to the bit

Many models that are published as float are dequantized int8 models. Quantized with a fresh scale they lose a
second time; with the old one they lose nothing. The largest |w| is k·s for some whole k: every k from 1 to
255 is tried, and the smallest that makes all w·k/max|w| whole within float32 rounding wins. Then s is chosen
among the float32 numbers next to the estimate so that every product is the weight itself. Random weights meet
such a grid by accident with a chance of about 255·(10⁻⁴)^(n−1) for n different magnitudes.
"""

from dataclasses import dataclass

import numpy as np

from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.quant.formats import INT8, UINT8, IntFormat
from onnxq.quant.qparams import QParams

__all__ = ["Grid", "find_grid", "weight_grid"]

LARGEST = 255
"""Codes less their zero point: of uint8 at most ±255."""

EVIDENCE = 8
"""Different magnitudes, beyond one a channel, that must lie on the grid before it is believed."""

_SAMPLE = 48
_ULPS = 12
_RELATIVE = 2.0**-21


@dataclass(frozen=True, eq=False)
class Grid:
    """codes: int64, shaped as the weights. ``scale · codes`` in float32 is the weights, bit for bit.

    ``magnitudes`` is how many different absolute values other than zero there are.
    """

    codes: IntArray
    scale: np.float32
    magnitudes: int


def find_grid(weights: FloatArray) -> Grid | None:
    """The coarsest grid of at most ±255 steps that holds float32 weights exactly; None if there is none."""
    sizes = np.unique(np.abs(weights))
    sizes = sizes[sizes > 0].astype(np.float64)
    if not sizes.size:
        return Grid(np.zeros(weights.shape, np.int64), np.float32(1), 0)
    if sizes.size > LARGEST or not np.isfinite(sizes[-1]):
        return None
    some = sizes[np.unique(np.linspace(0, sizes.size - 1, _SAMPLE).astype(int))]
    steps = np.arange(1, LARGEST + 1)
    steps = steps[np.all(_near(some * (steps[:, None] / sizes[-1])), axis=1)]
    for step in steps:
        ratios = sizes * (step / sizes[-1])
        if np.all(_near(ratios)) and (scale := _exact_scale(sizes, np.rint(ratios))) is not None:
            codes = np.rint(weights.astype(np.float64) / float(scale)).astype(np.int64)
            return Grid(codes, scale, int(sizes.size))
    return None


def weight_grid(weights: FloatArray, axis: int | None) -> QParams | None:
    """Parameters under which float32 weights are integers already: one scale, else one for each channel.

    Per tensor int8, or uint8 where the codes are not symmetric enough; per channel int8 with zero point 0.
    None where there is no such grid, or too little to tell it from accident.
    """
    whole = find_grid(weights)
    if whole is not None and whole.magnitudes > EVIDENCE and (found := _per_tensor(whole)) is not None:
        return found
    if axis is None:
        return None
    grids: list[Grid] = []
    for channel in np.moveaxis(weights, axis, 0):
        grid = find_grid(channel)
        if grid is None or grid.codes.min(initial=0) < INT8.qmin or grid.codes.max(initial=0) > INT8.qmax:
            return None
        grids.append(grid)
    if sum(max(0, grid.magnitudes - 1) for grid in grids) < EVIDENCE:
        return None
    scale = np.array([grid.scale for grid in grids], np.float32)
    return QParams(scale, np.zeros(scale.shape, INT8.dtype), INT8, axis)


def _near(ratios: FloatArray) -> np.ndarray:
    whole = np.rint(ratios)
    return np.asarray((np.abs(ratios - whole) <= _RELATIVE * whole) & (whole > 0))


def _exact_scale(sizes: FloatArray, codes: FloatArray) -> np.float32 | None:
    """The float32 scale next to the estimate that gives every size to the bit."""
    wanted, steps = sizes.astype(np.float32), codes.astype(np.float32)
    up = down = np.float32(np.median(sizes / codes))
    for _ in range(_ULPS):
        for scale in (up, down):
            if scale > np.finfo(np.float32).tiny and np.array_equal(steps * scale, wanted):
                return np.float32(scale)
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(0))
    return None


def _per_tensor(grid: Grid) -> QParams | None:
    low, high = int(grid.codes.min()), int(grid.codes.max())
    fmt: IntFormat = INT8 if INT8.qmin <= low and high <= INT8.qmax else UINT8
    zero_point = 0 if fmt is INT8 else -min(low, 0)
    if high + zero_point > fmt.qmax:
        return None
    return QParams(np.asarray(grid.scale), np.asarray(zero_point, fmt.dtype), fmt)
