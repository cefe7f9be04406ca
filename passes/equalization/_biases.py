"""Numbers per channel moved from values into the biases behind them, before scales are chosen."""

from collections.abc import Collection

from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.context import Context
from onnxq.quant.channel_scale.shift import apply_shifts, choose_shifts, find_places

__all__ = ["move_biases"]


def move_biases(
    rw: Rewriter,
    context: Context,
    linear: Collection[str],
    gain: float,
    *,
    split: bool = False,
    rectified: bool = False,
) -> None:
    """Shift what the ``linear`` operators read, where that narrows a range by ``gain`` dB."""
    places = find_places(rw.model.graph, linear, split=split, rectified=rectified)
    symmetric = context.target.symmetric
    apply_shifts(choose_shifts(rw.model, places, context.observe, gain, symmetric=symmetric), rw)
