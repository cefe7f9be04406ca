"""Lower a Q/DQ graph to QOperator nodes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxq.errors import OnnxqError, PassError
from onnxq.evaluate.integer_only import is_float_type
from onnxq.graph.match import consumers, is_op, producer, sole_consumer
from onnxq.graph.rewriter import Rewriter, describe
from onnxq.graph.scopes import all_nodes, scopes
from onnxq.passes.lowering.integer.interface import substitute
from onnxq.passes.lowering.integer.movement.moves import SHAPE_READERS
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.qdq_operands import QdqOperands
from onnxq.passes.lowering.integer.region import Region, read_region
from onnxq.passes.lowering.integer.walk import sweep
from onnxq.passes.lowering.qoperator.arguments import MICROSOFT
from onnxq.passes.lowering.qoperator.operators import CONTRIB, STANDARD, Lowering
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.quant.qdq import qparams_of

__all__ = ["LowerQoperator"]

OPSET = 13
"""From here on Q/DQ know scales per channel, and Squeeze and Unsqueeze take their axes as an input."""

_ON_CODES = ("QuantizeLinear", "DequantizeLinear", "Constant", "QLinearConv", "QLinearMatMul")
"""Operators whose floats are scales, or the border to floats."""


@dataclass(frozen=True)
class LowerQoperator(Pass):
    """Lower a Q/DQ graph to operators that read and give codes, for ONNX Runtime.

           Q(Relu(Conv(DQ(x), DQ(w), DQ(b))))  =>  QLinearConv(x, s_x, z_x, w, s_w, z_w, s_y, z_y, b)

    1. Standard operators are preferred: QLinearConv, QLinearMatMul. A MatMul with a bias is a QLinearConv
       with a kernel of size one. Gemm, Add, Mul, Sigmoid, LeakyRelu, Softmax, AveragePool, Concat, Where,
       GlobalAveragePool and ReduceMean over the image have forms in com.microsoft only; with
       ``contrib=false`` they stay float, and Gemm becomes a QLinearConv.
    2. A Relu or Clip in front of a Q disappears where the codes end there anyway, else becomes Clip on codes.
    3. Operators that only move numbers run on codes where input and output have the same parameters.
    4. Input, output and weight have types that ONNX Runtime's kernels take together; biases are exactly at
       s_x·s_w, and sums are proven to stay in int32.

    What has no such form stays between DequantizeLinear and QuantizeLinear, each with its reason. Inputs and
    outputs of the model stay float: strip-io takes their Q/DQ off.
    """

    name: ClassVar[str] = "lower-qoperator"
    contract: ClassVar[Contract] = Contract.INTEGER_EXACT

    contrib: bool = True
    """Use operators of com.microsoft too."""

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        opset = rw.model.opset_imports.get("") or 0
        if not any(is_op(node, "QuantizeLinear") for node in all_nodes(rw.model)):
            return
        if opset < OPSET:
            raise PassError(
                f"lower-qoperator needs opset {OPSET} or later, the model has {opset}: raise it first"
            )
        walk = _Walk(rw, CONTRIB if self.contrib else STANDARD)
        walk.run()
        rw.finish()
        if any(node.domain == MICROSOFT for node in all_nodes(rw.model)):
            rw.model.opset_imports.setdefault(MICROSOFT, 1)
        for node, reason in _left(rw.model, walk.reasons | walk.operands.reasons):
            rw.skip(node, reason)


class _Walk:
    """One QuantizeLinear after the other; ``reasons`` says why a node stays float."""

    def __init__(self, rw: Rewriter, operators: Mapping[str, Lowering]) -> None:
        self.rw, self.operators = rw, operators
        self.operands = QdqOperands(rw)
        self.reasons: dict[ir.Node, str] = {}

    def run(self) -> None:
        idle: list[ir.Node] = []
        for scope in scopes(self.rw.model):
            if scope.is_function:
                continue
            self.operands.enter(scope.graph)
            for node in list(scope.graph):
                if is_op(node, "DequantizeLinear"):
                    idle.append(node)
                elif is_op(node, *SHAPE_READERS):
                    self._read_codes(node)
                elif is_op(node, "QuantizeLinear"):
                    idle += self._lower(node)
        sweep(self.rw, idle)

    def _read_codes(self, node: ir.Node) -> None:
        """Let an operator that asks for a shape, or for the place of the largest number, read codes."""
        source = node.inputs[0]
        operand = None if source is None else self.operands.get(source)
        usable = operand is not None and operand.per_tensor
        if operand is not None and usable:
            self.rw.set_input(node, 0, operand.codes)
        self.operands.settle(edited=usable)

    def _lower(self, quantize: ir.Node) -> list[ir.Node]:
        """Replace one QuantizeLinear; the float node that it leaves idle."""
        maker = producer(quantize)
        if maker is None:
            return []
        root = maker
        try:
            region = self._region(quantize)
            root = region.node
            codes = self._codes(region)
        except Refused as refusal:
            self.operands.settle(edited=False)
            self.reasons[root] = str(refusal)
            return []
        except OnnxqError:
            raise
        except Exception as error:
            raise PassError(f"lower-qoperator failed in front of {describe(quantize)}: {error}") from error
        substitute(self.rw, quantize, codes)
        self.operands.settle(edited=True)
        return [maker]

    def _region(self, quantize: ir.Node) -> Region:
        """What lies in front of a QuantizeLinear to 8 bits."""
        output = qparams_of(quantize)
        if output is None or output.axis is not None:
            raise Refused("its result is not quantized with one constant scale and zero point")
        if output.format.bits != 8:
            raise Refused(f"its result is {output.format}; QOperator nodes give int8 or uint8")
        return read_region(quantize, output, self.operands)

    def _codes(self, region: Region) -> ir.Value:
        """The prepared codes of a region."""
        values = _chain(region)
        operand = None if region.bias is not None else self.operands.get(values[-1])
        if operand is not None:
            if not operand.qparams.same_as(region.output):
                raise Refused("it changes scale or zero point, for which there is no operator on codes")
            return _clipped(self.rw, region, operand.codes)
        _check_readers(values)
        return _clipped(self.rw, region, self._operator(region.node)(region, self.rw))

    def _operator(self, node: ir.Node) -> Lowering:
        standard = node.domain in ("", "ai.onnx")
        if standard and (found := self.operators.get(node.op_type)) is not None:
            return found
        if standard and node.op_type in CONTRIB:
            raise Refused("only com.microsoft has it on codes: allow contrib=true")
        raise Refused("it has no QOperator form")


def _chain(region: Region) -> list[ir.Value]:
    """The float values from the input of the region's QuantizeLinear back to the result of its operator."""
    values = [value for value in region.quantize.inputs[:1] if value is not None]
    while (node := producer(values[-1])) is not None and node is not region.node:
        index = next((i for i in range(len(node.inputs)) if producer(node, i) is region.node), 0)
        values += [value for value in node.inputs[index : index + 1] if value is not None]
    return values


def _check_readers(values: list[ir.Value]) -> None:
    """Refuse where a float on the way is read elsewhere too: it would be computed twice."""
    for value in values:
        if value.is_graph_output():
            raise Refused(f"'{value.name}' is an output of the model as a float")
        if sole_consumer(value) is None:
            readers = ", ".join(describe(node) for node in consumers(value)[:3])
            raise Refused(f"'{value.name}' has several readers ({readers}); quantize it once for all")


def _clipped(rw: Rewriter, region: Region, codes: ir.Value) -> ir.Value:
    """The codes within the bounds that a Relu or Clip leaves."""
    fmt = region.output.format
    if (region.low, region.high) == (fmt.qmin, fmt.qmax):
        return codes
    name = f"{region.result.name}_bound"
    ends = [rw.const(np.asarray(end, fmt.dtype), name) for end in (region.low, region.high)]
    return rw.op("Clip", [codes, *ends], like=region.result, dtype=fmt.ir_dtype)


def _left(model: ir.Model, reasons: Mapping[ir.Node, str]) -> Iterator[tuple[ir.Node, str]]:
    """Nodes that compute floats, each with the reason; Q and DQ only where they are the obstacle."""
    for node in all_nodes(model):
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        if not any(is_float_type(value.dtype) for value in values):
            continue
        if node in reasons:
            yield node, reasons[node]
        elif not is_op(node, *_ON_CODES) and node.domain != MICROSOFT:
            yield node, _reason(node)


def _reason(node: ir.Node) -> str:
    readers = [reader for value in node.outputs for reader in consumers(value)]
    floats = [reader for reader in readers if not is_op(reader, "QuantizeLinear")]
    if floats:
        return f"no Q/DQ pair stands between it and {describe(floats[0])}"
    return (
        "what is quantized behind it stays float" if readers else "it makes an output of the model as a float"
    )
