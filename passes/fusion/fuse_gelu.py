"""Fuse the Gaussian error linear unit, in its exact and its tanh form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import pi, sqrt

import onnx_ir as ir

from onnxq.graph.match import get_input
from onnxq.graph.polynomial import Polynomial, ancestors, read
from onnxq.passes.fusion._operator_fusion import Fusion, OperatorFusion, fuse_result
from onnxq.pipeline.base import Contract

__all__ = ["FuseGelu"]


@dataclass(frozen=True)
class _Spelling:
    """``inner`` is what the root operator is applied to, ``outer`` what becomes of its result ``k``."""

    approximate: str
    inner: Callable[[Polynomial], Polynomial]
    outer: Callable[[Polynomial, Polynomial], Polynomial]


def _cubic(x: Polynomial) -> Polynomial:
    return sqrt(2 / pi) * (x + 0.044715 * x**3)


_SPELLINGS: Mapping[str, _Spelling] = {
    "Erf": _Spelling("none", lambda x: x * sqrt(0.5), lambda x, k: 0.5 * x * (1 + k)),
    "Tanh": _Spelling("tanh", _cubic, lambda x, k: 0.5 * x * (1 + k)),
    "Sigmoid": _Spelling("tanh", lambda x: 2 * _cubic(x), lambda x, k: x * k),
}


@dataclass(frozen=True)
class FuseGelu(OperatorFusion):
    """Replace the formula of Gelu by the operator Gelu (opset 20).

           y = x/2 · (1 + Erf(x / √2))                          => y = Gelu(x)
           y = x/2 · (1 + Tanh(√(2/π) · (x + 0.044715 · x³)))   => y = Gelu(x) {approximate="tanh"}
           y = x · Sigmoid(2 · √(2/π) · (x + 0.044715 · x³))    => y = Gelu(x) {approximate="tanh"}

    in any order of factors, with Mul or Div, x³ as Pow or as products. The model's opset is raised to 20 if
    that changes no other node. Left alone where the Erf, Tanh or Sigmoid is read elsewhere too. The quick
    form of Gelu, x · Sigmoid(1.702 · x), is a Swish: see fuse-silu.

    Source: Hendrycks, Gimpel: Gaussian Error Linear Units, https://arxiv.org/abs/1606.08415.
    """

    name = "fuse-gelu"
    contract = Contract.EXACT
    root = tuple(_SPELLINGS)
    since = 20

    def match(self, node: ir.Node, /) -> Fusion | str | None:
        spelling, argument = _SPELLINGS[node.op_type], get_input(node, 0)
        k = Polynomial.of(node.outputs[0])
        for value in ancestors(argument):
            inner, x = read(argument, value), Polynomial.of(value)
            if inner is None or not inner.polynomial.is_close(spelling.inner(x)):
                continue
            attributes = {"approximate": spelling.approximate} if spelling.approximate != "none" else {}
            return fuse_result("Gelu", value, attributes, spelling.outer(x, k), [*inner.nodes, node])
        return None
