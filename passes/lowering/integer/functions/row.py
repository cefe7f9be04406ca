"""The rows that Softmax and LogSoftmax work on: how far each element lies below the largest of its row."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.reduction import reduce_axes
from onnxq.passes.lowering.integer.functions.mask import is_masked, masked_input
from onnxq.passes.lowering.integer.operand import Operand, Refused
from onnxq.passes.lowering.integer.region import Region

__all__ = ["Row", "below_maximum"]


@dataclass(frozen=True, eq=False)
class Row:
    """``distance``: int32, in codes of ``x``, 0 for the largest element along ``axis``.

    ``length`` is None where it is known at run time only. What is ``masked`` may lie any distance below.
    """

    x: Operand
    distance: ir.Value
    axis: int
    length: int | None
    masked: bool


def below_maximum(region: Region, rw: Rewriter) -> Row:
    """Prepare ``max(x) − x`` along the axis of a Softmax or LogSoftmax (opset 13 or later).

    Raises:
        Refused: the rank of the input is not known, or its mask cannot be read.
    """
    x, wide = masked_input(region, rw)
    if wide.shape is None:
        raise Refused("the rank of its input is not known; run shape inference")
    axis = region.node.attributes.get_int("axis", -1) % len(wide.shape)
    length = wide.shape[axis]
    greatest = reduce_axes(rw, "ReduceMax", wide, [axis])
    distance = rw.op("Sub", [greatest, wide], like=wide, dtype=ir.DataType.INT32)
    return Row(x, distance, axis, length if isinstance(length, int) else None, is_masked(wide))
