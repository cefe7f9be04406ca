"""Passes for tests of the machinery: one of every kind of option, and some that misbehave."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.match import scalar
from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline import registry
from onnxq.pipeline.base import Contract, NodePass, Pass
from onnxq.pipeline.context import Context


class Method(StrEnum):
    """Choices for an option."""

    MINMAX = "min-max"
    MSE = "mse"


@dataclass(frozen=True)
class Nothing(Pass):
    """Does nothing, with options of every type."""

    name = "test-nothing"
    contract = Contract.EXACT
    flag: bool = False
    count: int = 3
    ratio: float = 0.5
    word: str = ""
    method: Method = Method.MINMAX
    bits: Literal[4, 8] = 8
    mode: Literal["fast", "exact"] = "fast"
    ops: tuple[str, ...] = ("Conv", "MatMul")
    sizes: tuple[int, ...] | None = None
    alpha: float | Literal["auto"] = "auto"
    limit: int | None = None
    label: str | None = None
    either: int | str = 1

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        """Leave it."""


@dataclass(frozen=True)
class Required(Pass):
    """Has an option without a default."""

    name = "test-required"
    contract = Contract.EXACT
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("size must not be negative")

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        """Leave it."""


@dataclass(frozen=True)
class BypassIdentity(NodePass):
    """Remove the first Identity that it meets."""

    name = "test-bypass-identity"
    contract = Contract.EXACT
    root = "Identity"

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        if not rw.edits and node.inputs[0] is not None:
            rw.bypass(node, node.inputs[0])


@dataclass(frozen=True)
class _Scale(NodePass):
    root = "Mul"
    factor: float = 1.01

    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        if (scale := scalar(node.inputs[1])) is not None:
            rw.set_input(node, 1, rw.const(np.array(scale * self.factor, np.float32), "scaled"))


@dataclass(frozen=True)
class ScaleExact(_Scale):
    """Change every Mul by a constant, and call that exact."""

    name: ClassVar[str] = "test-scale-exact"
    contract = Contract.EXACT


@dataclass(frozen=True)
class ScaleApproximate(_Scale):
    """Change every Mul by a constant, and say so."""

    name: ClassVar[str] = "test-scale-approximate"
    contract = Contract.APPROXIMATE


@dataclass(frozen=True)
class Broken(Pass):
    """Divides by zero."""

    name = "test-broken"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        raise ZeroDivisionError("division by zero")


@pytest.fixture(autouse=True, scope="package")
def test_passes() -> Iterator[Mapping[str, type[Pass]]]:
    """The registry with the passes above in it; gives the real ones."""
    real = registry.all_passes()
    mine: list[type[Pass]] = [Nothing, Required, BypassIdentity, ScaleExact, ScaleApproximate, Broken]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "all_passes", lambda: {**real, **{cls.name: cls for cls in mine}})
        yield real
