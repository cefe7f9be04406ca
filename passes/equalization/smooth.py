"""Smooth the inputs of matrix products."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from onnxq.graph.rewriter import Rewriter
from onnxq.passes.equalization._biases import move_biases
from onnxq.passes.equalization._report import note
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.channel_scale.apply import apply
from onnxq.quant.channel_scale.decide import Choice, decide
from onnxq.quant.channel_scale.gates import GATES
from onnxq.quant.channel_scale.trace import Rules
from onnxq.quant.formats import IntFormat
from onnxq.quant.others import linear_only
from onnxq.quant.recipe import FLOAT

__all__ = ["Smooth"]


@dataclass(frozen=True)
class Smooth(Pass):
    """Divide the inputs of MatMul and Gemm by a scale per channel, which their weights take back.

           Y = X W  =>  Y = (X diag(s)⁻¹) (diag(s) W)

    X diag(s)⁻¹ is folded into what makes X: the gain and offset of a normalization, the output channels of a
    linear operator, the rows of an embedding; one s serves all products that read X (query, key and value).
    Between two activations, as in Q·Kᵀ, a scale moves from one maker to the other.

    Where nothing can take it in, because a residual stream reads X too, ``split`` allows a second
    normalization with a gain of its own, and ``insert`` one Mul in front of the products. ``restore`` allows
    a Mul in front of a layer normalization, which needs the true sum of a residual stream: the stream can
    then be rounded with its wide channels made narrow, if that Mul and the normalization stay float.

    ``shift`` first takes the middle z of each channel's range out of X where it can go into the offset of a
    normalization or the bias of a linear operator, and gives it back to the biases behind, exactly:

           Y = X W + b  =>  Y = (X − z) W + (z W + b)

    ``alpha=auto`` chooses all scales together as ``equalize`` does. A number, such as 0.5, gives the closed
    form s_j = max|X_j|^α / max|W_j|^(1−α). Gelu and Swish may be taken apart (``gates``) as in ``equalize``.
    ``others`` is that of insert-qdq: with ``float`` only what products read counts as noise.
    Needs calibration samples.

    Sources: Xiao et al., SmoothQuant, https://arxiv.org/abs/2211.10438; of the shift Wei et al., Outlier
    Suppression+, https://arxiv.org/abs/2304.09145.
    """

    name: ClassVar[str] = "smooth"
    contract: ClassVar[Contract] = Contract.EXACT

    alpha: float | Literal["auto"] = "auto"
    split: bool = True
    insert: bool = False
    restore: bool = False
    shift: bool = False
    others: str | None = None
    gates: tuple[str, ...] = ()
    gain: float = 1.0

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        linear = frozenset({"MatMul", "Gemm"})
        if self.shift:
            move_biases(rw, context, linear, self.gain, split=self.split)
        rules = Rules(gates=frozenset(self.gates) & frozenset(GATES), clips=False, restore=self.restore)
        choice = Choice(
            linear,
            insert=linear if self.insert or self.split else frozenset(),
            mul=self.insert,
            rules=rules,
            alpha=None if self.alpha == "auto" else self.alpha,
            gain=self.gain,
        )
        if self.others not in (None, FLOAT):
            IntFormat.parse(str(self.others))
        target = context.target if self.others is None else linear_only(context.target)
        scaling = decide(rw.model, context.observe, target, choice)
        note(rw, context, scaling, linear)
        apply(scaling, rw)
