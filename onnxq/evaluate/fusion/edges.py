"""What a node of a Q/DQ graph reads and makes, as ONNX Runtime's fusions see it."""

from dataclasses import dataclass

import onnx_ir as ir

from onnxq.evaluate.fusion.checks import is_redundant
from onnxq.evaluate.fusion.propagation import Signs, carry_pairs
from onnxq.evaluate.fusion.verdict import Left
from onnxq.evaluate.fusion.view import Codes, View
from onnxq.graph.match import constant, get_input
from onnxq.graph.opset import opset

__all__ = ["Edges", "Result"]


@dataclass(frozen=True)
class Result:
    """What becomes of a node's output: its codes (None: it stays float) and the clamp that vanishes."""

    codes: Codes | None
    clamp: ir.Node | None

    def clamped(self, pattern: str) -> str:
        """The pattern with the Relu or Clip that vanishes."""
        return pattern if self.clamp is None else f"{pattern} with its {self.clamp.op_type}"


class Edges:
    """The codes on the edges of a model, after pairs were carried on and signs were changed."""

    def __init__(self, model: ir.Model, *, int8_allowed: bool) -> None:
        self.view = View(model)
        self.opset, self.int8_allowed = opset(model), int8_allowed
        carry_pairs(self.view, self.opset)
        self.signs = Signs(self.view, int8_allowed=int8_allowed)

    def input(self, node: ir.Node, index: int) -> Codes:
        """The codes that a node reads at an input."""
        value = get_input(node, index)
        codes = self.view.read(value)
        if codes is not None:
            return self.signs.of(codes)
        name = "" if value is None else value.name
        if constant(value) is not None:
            raise Left(f"its constant input '{name}' is float", f"put Q/DQ on '{name}'")
        raise Left(f"its input '{name}' is float", f"put Q/DQ on '{name}', or leave this node without Q/DQ")

    def inputs(self, node: ir.Node) -> list[Codes]:
        """The codes at all inputs."""
        return [self.input(node, i) for i, value in enumerate(node.inputs) if value is not None]

    def result(self, node: ir.Node, *, may_be_float: bool = False) -> Result:
        """The codes of the only output, behind a Relu or Clip that vanishes."""
        value = node.outputs[0]
        clamp = self.view.clamp_behind(value)
        shown = value if clamp is None else clamp.outputs[0]
        written = self.view.written(shown)
        if clamp is not None and (len(written) != 1 or not is_redundant(clamp, written[0])):
            if not written:
                raise Left(
                    f"there is no QuantizeLinear behind its {clamp.op_type}", f"put Q/DQ on '{shown.name}'"
                )
            raise Left(
                f"the codes behind its {clamp.op_type} go beyond what that lets through",
                f"let the range of '{shown.name}' end where the {clamp.op_type} cuts, at its own scale",
            )
        if not written:
            if may_be_float:
                return Result(None, None)
            raise Left("there is no QuantizeLinear behind it", f"put Q/DQ on '{shown.name}'")
        alone = self.view.edges(shown) == len(written) == 1
        if not alone or (value.is_graph_output() and not self.view.is_carried(value)):
            raise Left(
                f"its result '{shown.name}' is used as float besides its QuantizeLinear",
                "let all readers read the dequantized value",
            )
        return Result(self.signs.of(written[0]), clamp)

    def weight(self, node: ir.Node) -> Codes:
        """A float weight behind a dequantized input is quantized by the runtime, per tensor."""
        weight = get_input(node, 1)
        if weight is not None and self.view.read(weight) is None and constant(weight) is not None:
            return Codes("int8", None, True, weight)
        return self.input(node, 1)
