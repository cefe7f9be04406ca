"""From Q/DQ nodes to integer nodes, one QuantizeLinear after the other.

Each QuantizeLinear stands for what lies between it and the DequantizeLinears before it. That is nothing (a
change of parameters), a function of one tensor (a table), or an operator of the list. The integer nodes take
the place of the QuantizeLinear and its name; float nodes that nobody reads any more go.
"""

from collections.abc import Iterable

import onnx_ir as ir

from onnxq.errors import OnnxqError, PassError
from onnxq.graph.match import get_input, is_op, producer
from onnxq.graph.rewriter import Rewriter, describe
from onnxq.graph.scopes import scopes
from onnxq.passes.lowering.integer.emit.requantize import cast
from onnxq.passes.lowering.integer.functions.lookup import gather, read_function, tabulate
from onnxq.passes.lowering.integer.interface import substitute
from onnxq.passes.lowering.integer.linear.rescaling import lower_clamp, scales_wide_codes
from onnxq.passes.lowering.integer.movement.comparison import COMPARISONS, lower_comparison
from onnxq.passes.lowering.integer.movement.moves import SHAPE_READERS
from onnxq.passes.lowering.integer.operand import Refused, describe_codes
from onnxq.passes.lowering.integer.operators import OPERATORS
from onnxq.passes.lowering.integer.parameters import why_no_parameters
from onnxq.passes.lowering.integer.profile import Dialect, Profile
from onnxq.passes.lowering.integer.qdq_operands import QdqOperands
from onnxq.passes.lowering.integer.region import read_region
from onnxq.passes.lowering.integer.wide import require_32_bits, require_bits
from onnxq.quant.qdq import parameters, qparams_of

__all__ = ["lower_regions", "sweep"]

INT32 = ir.DataType.INT32


def lower_regions(rw: Rewriter, operands: QdqOperands, profile: Profile) -> dict[ir.Node, str]:
    """Lower every QuantizeLinear of every graph; the nodes that stay, with the reason.

    Raises:
        PassError: an accumulator can overflow, or something unexpected happened; names the node.
    """
    reasons: dict[ir.Node, str] = {}
    idle: list[ir.Node] = []
    for scope in scopes(rw.model):
        if scope.is_function:
            continue
        operands.enter(scope.graph)
        for node in list(scope.graph):
            if is_op(node, "DequantizeLinear"):
                idle.append(node)
            if is_op(node, *SHAPE_READERS):
                _read_codes(node, rw, operands)
            if is_op(node, "Cast", *COMPARISONS):
                idle += _compare_codes(node, rw, operands)
            if is_op(node, "TopK"):
                idle += _rank_codes(node, rw, operands)
            if is_op(node, "QuantizeLinear"):
                idle += _lower(node, rw, operands, profile, reasons)
    sweep(rw, idle)
    return operands.reasons | reasons


def sweep(rw: Rewriter, nodes: Iterable[ir.Node]) -> None:
    """Remove nodes that nobody reads, and those before them that only they read."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node.graph is None:
            continue
        before = [maker for value in node.inputs if (maker := producer(value)) is not None]
        rw.remove(node)
        if node.graph is None:
            stack += before


def _read_codes(node: ir.Node, rw: Rewriter, operands: QdqOperands) -> None:
    source = get_input(node, 0)
    operand = None if source is None else operands.get(source)
    usable = operand is not None and operand.per_tensor
    if operand is not None and usable:
        through = operand.wide and is_op(node, "ArgMax", "ArgMin")
        rw.set_input(node, 0, cast(rw, operand.codes, INT32) if through else operand.codes)
    operands.settle(edited=usable)


def _compare_codes(node: ir.Node, rw: Rewriter, operands: QdqOperands) -> list[ir.Node]:
    """Let codes answer a comparison; the makers of the floats that it read."""
    answer = lower_comparison(node, operands, rw)
    makers = [maker for value in node.inputs if (maker := producer(value)) is not None]
    if answer is not None:
        substitute(rw, node, answer)
    operands.settle(edited=answer is not None)
    return makers if answer is not None else []


def _rank_codes(node: ir.Node, rw: Rewriter, operands: QdqOperands) -> list[ir.Node]:
    """Let TopK rank codes, as int32 since ONNX Runtime before 1.24 ranks no 8-bit integers.

    Its values are dequantized again, for whoever reads them to lower; these nodes are returned.
    """
    source = node.inputs[0]
    operand = None if source is None else operands.get(source)
    if operand is None or not operand.per_tensor:
        operands.settle(edited=False)
        return []
    ranked = rw.op("TopK", [cast(rw, operand.codes, INT32), node.inputs[1]], node.attributes, outputs=2)
    values, indices = ranked.producer().outputs  # type: ignore[union-attr]
    values.type, values.shape = ir.TensorType(INT32), node.outputs[0].shape
    codes = cast(rw, values, operand.qparams.format.ir_dtype)
    qparams, name = operand.qparams, node.outputs[0].name or "top"
    real = rw.op("DequantizeLinear", [codes, *parameters(rw, qparams, name)], like=node.outputs[0])
    rw.replace(node, real, indices)
    operands.settle(edited=True)
    maker = real.producer()
    return [] if maker is None else [maker]


def _lower(
    quantize: ir.Node, rw: Rewriter, operands: QdqOperands, profile: Profile, reasons: dict[ir.Node, str]
) -> list[ir.Node]:
    """Replace one QuantizeLinear; the float node that it leaves idle."""
    maker = producer(quantize)
    try:
        codes = _codes(quantize, rw, operands, profile, reasons)
    except OnnxqError:
        raise
    except Exception as error:
        raise PassError(f"lower-integer failed in front of {describe(quantize)}: {error}") from error
    if codes is None:
        operands.settle(edited=False)
        return []
    describe_codes(codes, qparams_of(quantize))
    substitute(rw, quantize, codes)
    operands.settle(edited=True)
    return [] if maker is None else [maker]


def _codes(
    quantize: ir.Node, rw: Rewriter, operands: QdqOperands, profile: Profile, reasons: dict[ir.Node, str]
) -> ir.Value | None:
    """The prepared codes that a QuantizeLinear makes, or None and a reason."""
    node, value = producer(quantize) or quantize, quantize.inputs[0]
    try:
        output = qparams_of(quantize)
        if value is None or output is None:
            raise Refused(why_no_parameters(quantize))
        if output.axis is not None:
            raise Refused("it has one scale per channel on a computed tensor; give it a single scale")
        require_bits("its result", output, profile)
        if (same := lower_clamp(quantize, output, operands, profile, rw)) is not None:
            return same
        if (function := read_function(value, operands)) is not None and not scales_wide_codes(function):
            return gather(rw, function.operand, tabulate(function, output, rw.model.opset_imports))
        region = read_region(quantize, output, operands, profile)
        node = region.node
        if (lower := OPERATORS.get(node.op_type)) is None or node.domain not in ("", "ai.onnx"):
            raise Refused(operands.reasons.get(node, "there is no integer rule for this operator"))
        codes = lower(region, rw)
        if profile.dialect == Dialect.INT32:
            require_32_bits(codes)
        return codes
    except Refused as refusal:
        reasons[node] = str(refusal)
        return None
