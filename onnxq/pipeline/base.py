"""What a pass is: a named frozen dataclass whose fields are its options, with a contract.

A pass sees a :class:`Rewriter`, through which it edits, and a :class:`Context`, through which it learns
what it is working for. Most passes are a :class:`NodePass`: they look at one operator at a time, in every
scope of the model.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import onnx_ir as ir

from onnxq.errors import OnnxqError, PassError
from onnxq.graph.match import is_op
from onnxq.graph.rewriter import Rewriter, Skip, describe
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.context import Context

__all__ = ["Contract", "NodePass", "Outcome", "Pass"]


class Contract(StrEnum):
    """What a pass promises about the outputs of the model; ``--check-each`` holds it to that."""

    EXACT = "exact"
    """The same up to float rounding: folds, fusions, equalization."""
    APPROXIMATE = "approximate"
    """Values change; the error is measured and reported: inserting Q/DQ, rounding."""
    INTEGER_EXACT = "integer-exact"
    """The same integer codes as the Q/DQ graph before it: lowerings."""


@dataclass(frozen=True)
class Outcome:
    """What one pass did: the model afterwards, how many edits, and what it left alone with the reason."""

    model: ir.Model
    edits: int
    skips: Sequence[Skip]

    @property
    def modified(self) -> bool:
        return self.edits > 0


@dataclass(frozen=True)
class Pass(ABC):
    """One rewriting of a whole model. Subclasses are frozen dataclasses; their fields are the options."""

    name: ClassVar[str]
    contract: ClassVar[Contract]

    @abstractmethod
    def apply(self, rw: Rewriter, context: Context, /) -> None:
        """Edit ``rw.model`` through ``rw``."""

    def check(self, context: Context, /) -> None:  # noqa: B027  (most passes have nothing to refuse)
        """Refuse options that are wrong for every model; asked of all passes before the first one runs.

        Raises:
            OnnxqError: says which option, and what is allowed.
        """

    def run(self, model: ir.Model, context: Context) -> Outcome:
        """Apply the pass. The model is edited in place; go on with the returned one.

        Raises:
            PassError: something inside the pass failed; names the pass.
        """
        rw = Rewriter(model)
        self.apply(rw, context)
        rw.finish()
        return Outcome(rw.model, rw.edits, tuple(rw.skips))


@dataclass(frozen=True)
class NodePass(Pass):
    """A pass that looks at one node at a time: every ``root`` operator in every scope."""

    root: ClassVar[str | tuple[str, ...]]

    @abstractmethod
    def rewrite(self, node: ir.Node, rw: Rewriter, /) -> None:
        """Edit around one node, or return, with ``rw.skip(node, reason)`` where a user would ask why."""

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        roots = (self.root,) if isinstance(self.root, str) else self.root
        for node in all_nodes(rw.model):
            if node.graph is None or not is_op(node, *roots):
                continue
            try:
                self.rewrite(node, rw)
            except (OnnxqError, MemoryError):
                raise
            except Exception as error:
                raise PassError(f"{self.name} failed at {describe(node)}: {error}") from error
            rw.discard()
