"""Insert fake quantization with what a search keeps wider than 8 bits."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal

from onnxq.evaluate.bench import SAMPLES
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.quantization.insert_qdq import DEFAULT_METHOD, InsertQdq
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.search.budget import Budget, Precision
from onnxq.search.exemptions import Kind
from onnxq.search.precision import choose_precision

__all__ = ["RECIPE_KEY", "AutoPrecision"]

COVERAGE = 0.95

RECIPE_KEY = "onnxq.recipe"
"""Where the model's metadata keep the recipe that was found."""


@dataclass(frozen=True)
class AutoPrecision(Pass):
    """Put Q/DQ as insert-qdq does, but let some values have 16 bits or stay float, under a budget.

           insert-qdq{…}  with the recipe that the search finds

    One budget is given, or coverage=0.95 is meant:

        sqnr=30            every output reaches 30 dB, with as few exemptions as possible
        coverage=0.95      95 % of the nodes stay on 8 bits, and the noise is as low as that allows
        size=0.2           weights of 4 bits, until all take 20 % of their float bytes (8 bits: 25 %)
        metric_drop=0.01   at most 1 % of the decisions (argmax) differ from the float model's

    Exemptions are values in 16 bits, where the target has them, values in float with the nodes around, and
    nodes in float; ``prefer`` allows values one of the two. Every combination is measured on ``samples`` of
    the calibration samples (onnxq.search.precision tells how), for at most ``seconds``; without that limit
    the same inputs give the same model. The recipe is in the model's metadata, ``onnxq.recipe``: given to
    insert-qdq in place of this pass it makes the same graph without searching.
    """

    name: ClassVar[str] = "auto-precision"
    contract: ClassVar[Contract] = Contract.APPROXIMATE

    sqnr: float | None = None
    coverage: float | None = None
    size: float | None = None
    metric_drop: float | None = None
    prefer: Literal["int16", "float"] | None = None
    samples: int = SAMPLES
    seconds: float = inf
    activation: str | None = None
    weight: str | None = None
    symmetric: bool | None = None
    per_channel: bool | None = None
    recipe: str | None = None
    method: str = DEFAULT_METHOD

    def __post_init__(self) -> None:
        self.budget()

    def budget(self) -> Budget:
        """What the search may spend.

        Raises:
            UsageError: several are given, or a share is none.
        """
        if self.sqnr is self.coverage is self.size is self.metric_drop is None:
            return Budget(coverage=COVERAGE)
        return Budget(self.sqnr, self.coverage, self.size, self.metric_drop)

    def check(self, context: Context, /) -> None:
        self.inserter(self.recipe).check(context)

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        found = self.search(rw, context)
        rw.model.metadata_props[RECIPE_KEY] = found.recipe
        self.inserter(found.recipe or None).apply(rw, context)
        for move in found.chosen:
            rw.skip(move.where[0], f"the search gives it {move.kind}")
        if not found.reached:
            late = "the time ran out" if not found.complete else "no further exemption helps"
            rw.skip("the model", f"the budget is not reached: {found.after.worst:.2f} dB; {late}")

    def search(self, rw: Rewriter, context: Context, /) -> Precision:
        """The exemptions for a prepared model."""
        kind = {"int16": Kind.WIDE, "float": Kind.FLOAT, None: None}[self.prefer]
        return choose_precision(
            rw.model,
            context,
            self.inserter(self.recipe),
            self.budget(),
            prefer=kind,
            limit=self.samples,
            seconds=self.seconds,
        )

    def inserter(self, recipe: str | None) -> InsertQdq:
        """insert-qdq with the options of this pass and a recipe."""
        return InsertQdq(
            activation=self.activation,
            weight=self.weight,
            symmetric=self.symmetric,
            per_channel=self.per_channel,
            recipe=recipe,
            method=self.method,
        )
