"""Write recurrent operators as their steps."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.errors import UsageError
from onnxq.graph.opset import opset
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering._recurrent import RECURRENT, Layer, layer_of
from onnxq.passes.lowering._unrolled import unrolled
from onnxq.passes.lowering.integer.walk import sweep
from onnxq.pipeline.base import Contract, NodePass

__all__ = ["UnrollRecurrent"]

OPSET = 13
"""From here on Split, Squeeze and Unsqueeze take sizes and axes as inputs."""


@dataclass(frozen=True)
class UnrollRecurrent(NodePass):
    """Write an LSTM, GRU or RNN as MatMul, Add, Mul and its functions, one step after the other.

           LSTM:  s = X·Wᵀ + b                                 of all steps in one product
                  i, f, o = Sigmoid(s_t + H·Rᵀ),  g = Tanh(…)
                  C = f·C + i·g,   H = o·Tanh(C)
           GRU:   z, r = Sigmoid(s_t + H·Rᵀ),  g = Tanh(s_t + (r·H)·Rᵀ)
                  H = g + z·(H − g)
           RNN:   H = Tanh(s_t + H·Rᵀ)

    For targets without recurrent operators: what results is quantized as any other graph. All of the operator
    is known: directions, both layouts, initial states, peepholes, clip, input_forget, linear_before_reset,
    every activation with its alpha and beta, outputs left out. Without initial states the first step has no
    recurrent product.

    A node stays where its sequence length is open (fix-shapes), longer than ``steps``, given at run time by
    sequence_lens, or where its weights are computed. A batch may be symbolic.

    Source: https://onnx.ai/onnx/operators/onnx__LSTM.html, GRU and RNN.
    """

    name = "unroll-recurrent"
    contract = Contract.EXACT
    root = RECURRENT

    steps: int = 64
    """The longest sequence that is written out: each step has its own nodes."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"unroll-recurrent: steps must be at least 1, not {self.steps}")

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        layer = self._layer(node, opset(rw.model))
        if isinstance(layer, str):
            return rw.skip(node, layer)
        outputs, ends = unrolled(rw, layer)
        rw.replace(node, *outputs)
        return sweep(rw, ends)

    def _layer(self, node: ir.Node, opset: int) -> Layer | str:
        """What is written out, or why it is not."""
        if opset < OPSET:
            return f"needs opset {OPSET} or later, found {opset}: run raise-opset"
        layer = layer_of(node)
        if isinstance(layer, str) or 1 <= layer.steps <= self.steps:
            return layer
        return (
            f"it has {layer.steps} steps, of 1 to {self.steps} that are written out: for more run "
            f"'prepare, unroll-recurrent{{steps={layer.steps}}}' first"
        )
