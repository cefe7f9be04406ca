"""Turn inputs that have a default value into constants."""

from dataclasses import dataclass
from typing import ClassVar

from onnxq.graph.rewriter import Rewriter
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context

__all__ = ["FreezeInputs"]


@dataclass(frozen=True)
class FreezeInputs(Pass):
    """Turn inputs that have a default value into constants.

           graph(x, W = default)  =>  graph(x),  W constant

    From IR version 4 on an initializer that is also an input may be overridden by the caller, so nothing
    can be folded into it and no weight quantized. Exporters list all weights like that out of habit, and
    nobody feeds them. The default values stay; what a caller can no longer do is replace them.
    """

    name: ClassVar[str] = "freeze-inputs"
    contract: ClassVar[Contract] = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        for value in list(rw.model.graph.inputs):
            if value.is_initializer():
                rw.freeze_input(value)
