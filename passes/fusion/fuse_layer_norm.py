"""Fuse the normalization to mean 0 and deviation 1."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import get_input, is_float, is_op
from onnxq.graph.polynomial import Polynomial, ancestors, read
from onnxq.passes.fusion._normalization import deviation, fuse_normalization, trailing_axes
from onnxq.passes.fusion._operator_fusion import Fusion, OperatorFusion
from onnxq.pipeline.base import Contract

__all__ = ["FuseLayerNorm"]


@dataclass(frozen=True)
class FuseLayerNorm(OperatorFusion):
    """Replace the formula of a layer normalization by the operator LayerNormalization (opset 17).

           d = x − ReduceMean(x)      s = Sqrt(ReduceMean(d²) + epsilon)      over the last axes
           y = d / s · gamma + beta   => y = LayerNormalization(x, gamma, beta) {axis, epsilon}

    with d² as Pow or d · d, d computed once or twice, 1/s as Reciprocal or Pow, and gamma, a number or beta
    anywhere: TensorFlow's x · (gamma / s) + (beta − mean · (gamma / s)) is the same polynomial. Without a
    gamma it becomes ones. The model's opset is raised to 17 if that changes no other node.

    Left alone where the axes are not the last ones or of unknown size, where gamma or beta differ along other
    axes, or where s is read elsewhere too.

    Source: Ba, Kiros, Hinton: Layer Normalization, https://arxiv.org/abs/1607.06450.
    """

    name = "fuse-layer-norm"
    contract = Contract.EXACT
    root = ("Sqrt", "Pow")
    since = 17

    def match(self, node: ir.Node, /) -> Fusion | str | None:
        if (spread := deviation(node)) is None or (squares := get_input(spread.mean, 0)) is None:
            return None
        for mean in ancestors(squares):
            maker = mean.producer()
            x = get_input(maker, 0) if maker is not None and is_op(maker, "ReduceMean") else None
            found = read(squares, x, mean) if x is not None else None
            if x is None or maker is None or found is None:
                continue
            direction = Polynomial.of(x) - mean
            if not found.polynomial.is_close(direction**2):
                continue
            axes = trailing_axes(maker)
            if axes is None or axes != trailing_axes(spread.mean) or not is_float(x):
                return "is part of a layer normalization, but not of float32 values over the last axes"
            before = [maker, *found.nodes]
            return fuse_normalization("LayerNormalization", direction, [x, mean], spread, before, biased=True)
        return None
