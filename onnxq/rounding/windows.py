"""What a layer's weight multiplies: rows of its data, for a Conv the windows its filter is laid on.

    y[row, g, n] = Σ_k rows[row, g, k] · W[g, n, k]

A Conv has as many windows as its output has positions; a seeded choice of them is enough for statistics.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.rounding.sites import Site

__all__ = ["Picked", "pick"]


@dataclass(frozen=True, eq=False)
class Picked:
    """Some output positions of a layer: indices of the batch and of each axis that is not of channels."""

    site: Site
    positions: tuple[IntArray, ...]

    def inputs(self, data: Array) -> FloatArray:
        """What the weight meets there, float32 [rows, groups, inputs]; ``data`` is the node's first input."""
        if not is_op(self.site.node, "Conv"):
            return np.asarray(data[self.positions][:, None, :], np.float32)
        frame = _Frame.of(self.site, data.shape[2:])
        padded = np.moveaxis(np.pad(data, [(0, 0), (0, 0), *frame.pads]), 1, -1)
        image, *positions = self.positions
        starts = [p * s for p, s in zip(positions, frame.strides, strict=True)]
        rows = np.empty((math.prod(frame.kernel), len(image), data.shape[1]), np.float32)
        for row, offset in zip(rows, product(*map(range, frame.kernel)), strict=True):
            at = [p + o * d for p, o, d in zip(starts, offset, frame.dilations, strict=True)]
            row[...] = padded[(image, *at)]
        return rows.transpose(1, 2, 0).reshape(len(image), self.site.groups, -1)

    def outputs(self, values: Array) -> FloatArray:
        """What an array of the shape of the node's output holds there, float32 [rows, groups, outputs]."""
        last = np.moveaxis(values, 1, -1) if is_op(self.site.node, "Conv") else values
        rows = last[self.positions]
        return np.asarray(rows.reshape(len(rows), self.site.groups, -1), np.float32)


def pick(site: Site, shape: Sequence[int], count: int, seed: Sequence[int]) -> Picked:
    """At most ``count`` output positions for data of a shape, [N, C, spatial…] or [..., inputs]."""
    sizes = (
        (shape[0], *_Frame.of(site, shape[2:]).sizes(shape[2:])) if is_op(site.node, "Conv") else shape[:-1]
    )
    total = math.prod(sizes)
    chosen = np.arange(total)
    if total > count:
        chosen = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    return Picked(site, np.unravel_index(chosen, tuple(sizes)))


@dataclass(frozen=True)
class _Frame:
    """How the windows of a Conv lie on its data, a number or a pair for each spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, site: Site, sizes: Sequence[int]) -> "_Frame":
        kernel = site.weight.shape[2:]
        strides, dilations = (_per_axis(site.node, name, len(kernel)) for name in ("strides", "dilations"))
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        return cls(kernel, strides, dilations, _pads(site.node, sizes, spans, strides))

    def sizes(self, sizes: Sequence[int]) -> list[int]:
        """The output's spatial sizes for those of the data."""
        axes = zip(sizes, self.pads, self.kernel, self.dilations, self.strides, strict=True)
        return [(n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, d, s in axes]


def _per_axis(node: ir.Node, name: str, rank: int) -> tuple[int, ...]:
    attribute = node.attributes.get(name)
    return tuple(attribute.as_ints()) if attribute is not None else (1,) * rank


def _pads(
    node: ir.Node, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each axis; SAME_UPPER and SAME_LOWER as the specification of Conv has them."""
    given = node.attributes.get("auto_pad")
    mode = given.as_string() if given is not None else "NOTSET"
    if mode == "NOTSET":
        attribute = node.attributes.get("pads")
        pads = list(attribute.as_ints()) if attribute is not None else [0] * (2 * len(spans))
        return tuple(zip(pads[: len(spans)], pads[len(spans) :], strict=True))
    if mode == "VALID":
        return ((0, 0),) * len(spans)
    totals = [max((-(-n // t) - 1) * t + s - n, 0) for n, s, t in zip(sizes, spans, strides, strict=True)]
    halves = [(total // 2, total - total // 2) for total in totals]
    return tuple(halves if mode == "SAME_UPPER" else [(after, before) for before, after in halves])
