"""Equalize the channels of convolutional networks."""

from dataclasses import dataclass, replace
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
from onnxq.targets.target import Target

__all__ = ["Equalize"]


@dataclass(frozen=True)
class Equalize(Pass):
    """Move a scale per channel along the edges between convolutions, so that 8 bits serve all channels alike.

           x' = x / s:  the maker of x divides (weights, bias, gain), the readers multiply (input channels)

    The scales pass through Relu, LeakyRelu, PRelu, pooling, Concat, Slice, Reshape, Resize, Pad and, where
    both
    sides share them, Add. Through a gated activation they pass exactly as

           y = x · g(x)  =>  y' = x' · g(s ⊙ x')                       Swish, HardSwish (``gates``)

    and through a Clip with bounds per channel, Min(Clip(x', 0, max b/s), b/s) (``clips``; ``auto``: only
    where
    the target has one scale for a whole weight, which needs it).

    All scales are chosen together: the noise of rounding values and weights, Δ²/12 weighted by what it does
    to
    the readers, is a convex function of ln s, and its least is taken. Blocks of channels that would gain less
    than ``gain`` dB stay as they are, for every change of weights is a new draw of rounding errors. ``alpha``
    gives a number to take s = max|X|^α / max|W|^(1−α) instead. Needs calibration samples.

    ``absorb`` first takes a number z per channel out of values that only linear operators without padding
    read, and gives it back to their biases, W x + b = W (x − z) + (W z + b): the middle of the range, behind
    a Relu the smallest value of the samples, which is exact as long as no input goes below it.

    Channels that were silent during calibration are magnified no further than one step of the widest.

    After Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction,
    https://arxiv.org/abs/1906.04721, which matches the ranges of weights alone.
    """

    name: ClassVar[str] = "equalize"
    contract: ClassVar[Contract] = Contract.EXACT

    alpha: float | Literal["auto"] = "auto"
    gates: tuple[str, ...] = ("Swish", "HardSwish")
    clips: bool | Literal["auto"] = "auto"
    per_channel: bool | None = None
    gain: float = 3.0
    absorb: bool = False

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        target, linear = self._target(context.target), frozenset({"Conv", "ConvTranspose"})
        if self.absorb:
            move_biases(rw, context, linear | {"Gemm", "MatMul"}, self.gain, rectified=True)
        clips = "Conv" not in target.per_channel if self.clips == "auto" else self.clips
        rules = Rules(gates=frozenset(self.gates) & frozenset(GATES), clips=clips)
        alpha = None if self.alpha == "auto" else self.alpha
        choice = Choice(linear, rules=rules, alpha=alpha, gain=self.gain)
        scaling = decide(rw.model, context.observe, target, choice)
        note(rw, context, scaling, linear)
        apply(scaling, rw)

    def _target(self, base: Target) -> Target:
        return replace(base, per_channel=frozenset[str]()) if self.per_channel is False else base
