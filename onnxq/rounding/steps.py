"""The grid that a weight is rounded to, seen from zero: w = steps · scale, low ≤ steps ≤ high.

Zero points do not matter here: steps = code − zero point.
"""

from dataclasses import dataclass

import numpy as np

from onnxq.graph.numeric import FloatArray
from onnxq.rounding.sites import Site

__all__ = ["Steps", "steps_of"]


@dataclass(frozen=True, eq=False)
class Steps:
    """scale, low, high: float64, of the shape [groups, outputs, inputs] of the weights, or that meets it."""

    scale: FloatArray
    low: FloatArray
    high: FloatArray

    def nearest(self, weights: FloatArray) -> FloatArray:
        """Whole steps, as float64."""
        return self.clip(np.rint(weights / self.scale))

    def clip(self, steps: FloatArray) -> FloatArray:
        """Whole steps within the format."""
        clipped: FloatArray = np.clip(steps, self.low, self.high)
        return clipped


def steps_of(site: Site, bits: int | None) -> Steps:
    """The grid of a site's weight, of ``bits`` bits or of those that nearest rounding uses.

    Fewer than 8 bits are kept in 8-bit codes, so the parameters do not tell how many: a signed format of b
    bits has codes up to 2^(b−1) − 1 either way, an unsigned one 0 … 2^b − 1.
    """
    q = site.qparams
    codes = q.quantize(site.weight).astype(np.int64)
    used = int(np.where(codes < 0, -codes - 1, codes).max()).bit_length() + q.format.signed
    top = (1 << (min(bits or max(used, 2), q.format.bits) - q.format.signed)) - 1
    lowest = int(codes.min()) if bits is None else 0
    bottom = min(-top, lowest) if q.format.signed else 0
    shape = site.weight.shape
    scale, zero = (np.broadcast_to(q.broadcast(a, len(shape)), shape) for a in (q.scale, q.zero_point))
    zero = site.matrices(zero).astype(np.float64)
    return Steps(site.matrices(scale).astype(np.float64), bottom - zero, top - zero)
