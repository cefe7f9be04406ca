"""What the user should know of a scaling besides its edits."""

import logging
from collections.abc import Collection

from onnxq.graph.match import is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.context import Context
from onnxq.quant.channel_scale.decide import Scaling
from onnxq.words import plural

__all__ = ["note"]

_log = logging.getLogger(__name__)

FEW = 8
"""Below so many samples, the range of a single channel says little."""


def note(rw: Rewriter, context: Context, scaling: Scaling, linear: Collection[str]) -> None:
    """Say what was left alone for lack of gain, and that few samples make ranges per channel doubtful."""
    for node in all_nodes(rw.model):
        if node.graph is not rw.model.graph and is_op(node, *linear):
            rw.skip(node, "it stands in a body of If, Loop or Scan: what it reads keeps its scale")
    _log.debug(
        "%d values scaled, %d Mul inserted, %.1f dB", len(scaling.scales), len(scaling.inserted), scaling.gain
    )
    if not scaling.scales and not scaling.inserted:
        return rw.skip("the model", "no scale would lower the noise of quantization by enough")
    if context.samples is not None and len(context.samples) < FEW:
        rw.skip(
            "the model",
            f"only {plural(len(context.samples), 'sample')}: bounds of single channels are doubtful, and the "
            f"scales follow them; {FEW} or more are wanted",
        )
    return None
