"""What a method makes of a layer."""

from dataclasses import dataclass

from onnxq.graph.numeric import FloatArray

__all__ = ["Rounded"]


@dataclass(frozen=True, eq=False)
class Rounded:
    """A layer's new parameters.

    weights, scale: [groups, outputs, inputs], weights being whole multiples of scale. shift: what the bias
    gains, [groups, outputs]. ``before`` and ``after``: mean squared error of each output, [groups, outputs],
    on the held-back rows, by nearest rounding and now.
    """

    weights: FloatArray
    scale: FloatArray
    shift: FloatArray
    before: FloatArray
    after: FloatArray
