"""A Q/DQ pair, or a constant behind DequantizeLinear, as the quantizer that it means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, consumers, get_input, is_op, producer, sole_consumer
from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.quant.qdq import qparams_of
from onnxq.quant.qparams import QParams

__all__ = ["FakeQuant", "Refused", "read_fake_quant"]


class Refused(Exception):
    """Why a pair cannot be said in a dialect; the pass adds the node's name."""


@dataclass(frozen=True, eq=False)
class FakeQuant:
    """``y = DQ(clip(Q(x), low, high))``: x is quantized with ``inner`` and read with ``outer``.

    ``codes`` are those of a constant, x is None then. ``nodes`` say it in Q/DQ, the DequantizeLinear last.
    """

    x: ir.Value | None
    inner: QParams
    outer: QParams
    low: int
    high: int
    nodes: Sequence[ir.Node]
    codes: IntArray | None = None

    @property
    def name(self) -> str:
        """The name to derive new names from."""
        return self.nodes[-1].outputs[0].name or "value"

    @property
    def real(self) -> FloatArray | None:
        """The real numbers of a constant, float32."""
        return None if self.codes is None else self.outer.dequantize(self.codes)

    def along(self, array: Array) -> Array:
        """A parameter shaped to broadcast against x."""
        axes = len(self.nodes[-1].outputs[0].shape or self.nodes[0].inputs[0].shape or ())  # type: ignore[union-attr]
        if array.ndim and not axes:
            raise Refused("it has one scale per channel and its rank is not known: run infer-shapes")
        return self.outer.broadcast(array, axes)


def read_fake_quant(node: ir.Node) -> FakeQuant:
    """What a DequantizeLinear means together with the QuantizeLinear before it.

    Raises:
        Refused: it stands for no quantizer of a real value with constant parameters.
    """
    outer, source = qparams_of(node), get_input(node, 0)
    if outer is None or source is None:
        raise Refused("its scale is not a float32 constant, or its format is no 8-, 16- or 32-bit integer")
    codes = constant(source)
    if codes is not None:
        low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
        return FakeQuant(None, outer, outer, low, high, [node], codes)
    clip = producer(node, 0, "Clip")
    quantize = producer(clip if clip is not None else node, 0, "QuantizeLinear")
    inner = None if quantize is None else qparams_of(quantize)
    if quantize is None or inner is None or (x := quantize.inputs[0]) is None:
        raise Refused(f"'{source.name}' holds codes that no QuantizeLinear with constant parameters makes")
    nodes = [quantize, *([] if clip is None else [clip]), node]
    for before in nodes[:-1]:
        others = [r.op_type for r in consumers(before.outputs[0]) if not is_op(r, "DequantizeLinear", "Clip")]
        if others or before.outputs[0].is_graph_output():
            raise Refused(f"the codes '{before.outputs[0].name}' are read by {(others or ['an output'])[0]}")
    low, high = _bounds(clip, outer)
    if clip is None and (found := _clip_before(quantize, inner)) is not None:
        front, low, high = found
        return FakeQuant(front.inputs[0], inner, outer, low, high, [front, *nodes])
    return FakeQuant(x, inner, outer, low, high, nodes)


def _bounds(clip: ir.Node | None, qparams: QParams) -> tuple[int, int]:
    """The codes that a Clip of codes leaves."""
    low, high = qparams.format.qmin, qparams.format.qmax
    if clip is None:
        return low, high
    given = [constant(get_input(clip, i)) for i in (1, 2)]
    if any(get_input(clip, i + 1) is not None and g is None for i, g in enumerate(given)):
        raise Refused("the Clip of its codes has bounds that are computed at run time")
    return (
        low if given[0] is None else int(given[0].reshape(())),
        high if given[1] is None else int(given[1].reshape(())),
    )


def _clip_before(quantize: ir.Node, qparams: QParams) -> tuple[ir.Node, int, int] | None:
    """A Clip of the real numbers to whole codes, which only narrows the codes."""
    clip = producer(quantize, 0, "Clip")
    if clip is None or sole_consumer(clip.outputs[0]) is not quantize or qparams.axis is not None:
        return None
    bounds = [constant(get_input(clip, i)) for i in (1, 2)]
    reals = [
        bound.astype(np.float32).reshape(()) for bound in bounds if bound is not None and bound.size == 1
    ]
    if len(reals) != 2:
        return None
    codes = [qparams.quantize(real) for real in reals]
    if not all(np.isclose(qparams.dequantize(c), r, rtol=1e-6) for c, r in zip(codes, reals, strict=True)):
        return None
    return clip, int(codes[0]), int(codes[1])
