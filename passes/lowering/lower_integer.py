"""Lower a Q/DQ graph to integers only."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onnxq.errors import CheckError, PassError
from onnxq.evaluate.integer_only import float_tensors, is_float_type
from onnxq.evaluate.intervals.analysis import analyze
from onnxq.graph.match import consumers, is_op
from onnxq.graph.rewriter import Rewriter, describe
from onnxq.graph.scopes import all_nodes, scopes
from onnxq.passes.lowering._recurrent import RECURRENT, layer_of
from onnxq.passes.lowering.integer.interface import lower_inputs, lower_outputs
from onnxq.passes.lowering.integer.parameters import require_sound_parameters
from onnxq.passes.lowering.integer.profile import Dialect, Profile
from onnxq.passes.lowering.integer.qdq_operands import QdqOperands
from onnxq.passes.lowering.integer.walk import lower_regions, sweep
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.fixed_point import Rounding
from onnxq.words import indented

__all__ = ["LowerInteger"]

OPSET = 13
"""From here on ReduceSum takes its axes as an input and Q/DQ know scales per channel."""


@dataclass(frozen=True)
class LowerInteger(Pass):
    """Lower a Q/DQ graph to integers only: no float tensor, initializer or attribute is left.

           Q(op(DQ(x), DQ(w)))  =>  clamp((acc·M + K) >> S)    acc = op on codes,  M/2^S = s_x·s_w/s_y

    1. A float input that is only quantized becomes an integer input; a float output that is dequantized
       an integer output. Names stay; ``onnxq.scale.<name>`` and ``onnxq.zero_point.<name>`` are metadata.
    2. Linear operators, sums, products and averages compute exact integers and rescale them with one
       rounding. Relu and Clip in front of a Q only narrow the clamp.
    3. Elementwise functions of one tensor become tables of all its codes, computed by ONNX Runtime.
    4. Operators that move or choose numbers run on codes.

    ``rounding`` says what happens half-way between two codes: ``half-even`` as ONNX, ``half-up`` or
    ``half-away``; without it, what the target says. Only sums that can lie there pay for it with nodes.
    ``tflite`` does the two roundings of TFLite's reference kernels.

    ``dialect`` is for whom the model is: ``fast`` for ONNX Runtime from 1.24 on, ``portable`` for ONNX
    Runtime from 1.17 on, ``int32`` for runtimes of 32-bit integers, with multipliers in two halves, of 20 to
    25 bits in place of 30. choose-integer-types before it gives inner tensors the types that the dialect
    wants. Sums of products that can reach ``2^max_accumulator_bits`` are an error; in the int32 dialect all
    numbers stay below that. With 24 float32 holds them all exactly, which OpenVINO makes of int32.

    Activations have 8 or 16 bits, in any mixture, weights 8. Integer products take 8 bits, so an operand of
    16 is multiplied as two halves, ``q = 256·h + l``, and both sums are added in as many bits as they need;
    ``max_accumulator_bits`` is for each of them. Functions of 16-bit codes are tables of 65,536. ``int32``
    and ``rounding=tflite`` take 8 bits only.

    Interval arithmetic over the actual weights proves that no word of the result overflows; where one can,
    that is an error with the node and its bits.

    What cannot be lowered is an error that lists every float node left with its reason. With ``allow_float``
    these stay as islands between DequantizeLinear and QuantizeLinear, each reported.
    """

    name: ClassVar[str] = "lower-integer"
    contract: ClassVar[Contract] = Contract.INTEGER_EXACT

    allow_float: bool = False
    rounding: Rounding | None = None
    dialect: Dialect = Dialect.FAST
    max_accumulator_bits: int = 31

    def check(self, context: Context, /) -> None:
        self._profile(context)

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        opset = rw.model.opset_imports.get("") or 0
        if not any(is_op(node, "QuantizeLinear", "DequantizeLinear") for node in all_nodes(rw.model)):
            return
        if opset < OPSET:
            raise PassError(
                f"lower-integer needs opset {OPSET} or later, found {opset}: raise the opset first"
            )
        _annotate(rw.model)
        require_sound_parameters(rw.model)
        profile = self._profile(context)
        inputs = lower_inputs(rw)
        operands = QdqOperands(rw, self.dialect)
        given = set(all_nodes(rw.model))
        reasons = lower_regions(rw, operands, profile)
        sweep(rw, lower_outputs(rw, operands))
        rw.finish()
        rw.drop(*_unread(rw.model))
        _prove(rw.model, given)
        islands = dict(_left(rw.model, reasons))
        if not self.allow_float:
            _require_none(rw.model, islands, inputs)
        for node, reason in islands.items():
            rw.skip(node, reason)
        for value, reason in inputs.items():
            rw.skip(f"input '{value.name}'", reason)

    def _profile(self, context: Context) -> Profile:
        rounding = self.rounding or Rounding(context.target.rounding)
        return Profile(rounding, self.dialect, self.max_accumulator_bits)


def _prove(model: ir.Model, given: Collection[ir.Node]) -> None:
    """Accept integer nodes of which intervals show that no word is left.

    Raises:
        PassError: one can be; names every such node with the bits that it needs.
    """
    found = [str(f) for f in analyze(model).violations if f.node not in given]
    if found:
        raise PassError(f"lower-integer made words that are too narrow:\n  {indented(found)}")


def _annotate(model: ir.Model) -> None:
    """Fill in types and shapes that the file leaves out: proofs of no overflow need them."""
    values = (value for node in all_nodes(model) for value in node.outputs)
    if any(value.name and (value.dtype is None or value.shape is None) for value in values):
        ShapeInferencePass()(model)


def _unread(model: ir.Model) -> list[ir.Value]:
    """Float initializers that no node reads."""
    found = [
        v for scope in scopes(model) if isinstance(scope.graph, ir.Graph) for v in _initializers(scope.graph)
    ]
    return [v for v in found if is_float_type(v.dtype) and not v.uses()]


def _initializers(graph: ir.Graph) -> list[ir.Value]:
    return [v for v in graph.initializers.values() if not v.is_graph_input() and not v.is_graph_output()]


def _left(model: ir.Model, reasons: Mapping[ir.Node, str]) -> Iterator[tuple[ir.Node, str]]:
    """Nodes that still compute floats; Q and DQ only where they are the obstacle themselves."""
    for node in all_nodes(model):
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        border = is_op(node, "QuantizeLinear", "DequantizeLinear", "Constant")
        inside = None if node.graph is model.graph else "bodies of If, Loop and Scan stay float"
        if node in reasons:  # shape inference may have failed, and types be unknown
            yield node, _root_cause(node) or inside or reasons[node]
        elif not border and any(is_float_type(value.dtype) for value in values):
            yield node, _root_cause(node) or inside or _reason(node)


def _root_cause(node: ir.Node) -> str | None:
    """Why an operator without an integer form still stands here, and what would have written it otherwise."""
    if is_op(node, "If"):
        return (
            "its condition is computed at run time; where it hangs on the shapes of inputs, fix them with "
            "fix-shapes (quantize --fix-shapes samples)"
        )
    if not is_op(node, *RECURRENT):
        return None
    layer = layer_of(node)
    why = layer if isinstance(layer, str) else "run unroll-recurrent, as --target integer does"
    return f"has no integer form, and is not written out: {why}"


def _reason(node: ir.Node) -> str:
    rounded = any(is_op(reader, "QuantizeLinear") for value in node.outputs for reader in consumers(value))
    if rounded:
        return "the nodes behind it could not be lowered"
    return "no QuantizeLinear rounds its result; put Q/DQ behind it (insert-qdq), or quantize what it reads"


def _require_none(model: ir.Model, nodes: Mapping[ir.Node, str], inputs: Mapping[ir.Value, str]) -> None:
    """Accept a model in which nothing is float.

    Raises:
        CheckError: something is; lists every place with its reason.
    """
    first = sorted(nodes, key=lambda node: _root_cause(node) is None)
    lines = [f"{describe(node)}: {nodes[node]}" for node in first]
    lines += [f"input '{value.name}': {reason}" for value, reason in inputs.items()]
    lines = lines or [f"'{found.name}' in {found.where}: {found.reason}" for found in float_tensors(model)]
    if not lines:
        return
    raise CheckError(
        f"lower-integer leaves {len(lines)} float places, expected none:\n  {indented(lines)}\n"
        "Quantize them (quantize --target integer does so with all that it can), or pass "
        "lower-integer{allow_float=true} to keep them as float islands."
    )
