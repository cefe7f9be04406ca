"""Fuse the normalization to root mean square 1."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import get_input, is_float
from onnxq.graph.polynomial import Polynomial, ancestors, read
from onnxq.passes.fusion._normalization import deviation, fuse_normalization, normalized
from onnxq.passes.fusion._operator_fusion import Fusion, OperatorFusion
from onnxq.pipeline.base import Contract

__all__ = ["FuseRmsNorm"]


@dataclass(frozen=True)
class FuseRmsNorm(OperatorFusion):
    """Replace the formula of an RMS normalization by the operator RMSNormalization (opset 23).

           s = Sqrt(ReduceMean(x²) + epsilon)      over the last axes
           y = x / s · gamma   => y = RMSNormalization(x, gamma) {axis, epsilon}

    with x² as Pow or x · x, 1/s as Reciprocal or Pow, the factors in any order. Without a gamma it becomes
    ones. The model's opset is raised to 23 if that changes no other node.

    Left alone where the axes are not the last ones or of unknown size, where gamma differs along other axes,
    or where s is read elsewhere too. It would also take a layer normalization for the RMS normalization of a
    difference: run fuse-layer-norm first.

    Source: Zhang, Sennrich: Root Mean Square Layer Normalization, https://arxiv.org/abs/1910.07467.
    """

    name = "fuse-rms-norm"
    contract = Contract.EXACT
    root = ("Sqrt", "Pow")
    since = 23

    def match(self, node: ir.Node, /) -> Fusion | str | None:
        if (spread := deviation(node)) is None or (squares := get_input(spread.mean, 0)) is None:
            return None
        for x in ancestors(squares):
            found = read(squares, x)
            if found is None or not found.polynomial.is_close(Polynomial.of(x) ** 2):
                continue
            if normalized(spread.mean) is None or not is_float(x):
                return "is part of an RMS normalization, but not of float32 values over the last axes"
            return fuse_normalization(
                "RMSNormalization", Polynomial.of(x), [x], spread, found.nodes, biased=False
            )
        return None
