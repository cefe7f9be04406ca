"""The inputs and outputs of an integer model: the float model's names, integer types, parameters as metadata.

    float x → QuantizeLinear → q      becomes      integer x
    q → DequantizeLinear → float y    becomes      integer y

``onnxq.scale.<name>`` and ``onnxq.zero_point.<name>`` in the model's metadata say what the codes mean; the
scale is the shortest decimal number that gives the same float32. Tensors inside carry ``onnxq.scale`` and
``onnxq.zero_point`` as metadata of their own.
"""

import onnx_ir as ir

from onnxq.graph.match import consumers, is_float, is_op
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.operand import SCALE, ZERO_POINT, Operand
from onnxq.passes.lowering.integer.qdq_operands import QdqOperands
from onnxq.quant.qdq import parameters, qparams_of
from onnxq.quant.qparams import QParams

__all__ = ["lower_inputs", "lower_outputs", "substitute"]


def lower_inputs(rw: Rewriter) -> dict[ir.Value, str]:
    """Turn float inputs that are only quantized into integer ones; the others with the reason."""
    reasons: dict[ir.Value, str] = {}
    for value in [v for v in rw.model.graph.inputs if is_float(v)]:
        readers = consumers(value)
        quantizers = [node for node in readers if is_op(node, "QuantizeLinear")]
        others = [node for node in readers if not is_op(node, "QuantizeLinear", "Shape", "Size")]
        found = [qparams_of(node) for node in quantizers]
        first = found[0] if found else None
        if others or value.is_graph_output() or value.is_initializer():
            reader = others[0].op_type if others else "an output of the model, or a default value"
            reasons[value] = f"it is read as a float, by {reader}; put a QuantizeLinear behind it"
        elif first is None or first.axis is not None:
            reasons[value] = "nothing quantizes it with one constant scale; remove it or put Q/DQ behind it"
        elif any(other is None or not other.same_as(first) for other in found):
            reasons[value] = "it is quantized with different parameters; quantize it once"
        else:
            rw.set_type(value, first.format.ir_dtype)
            _describe(rw.model, value.name or "", first)
            for node in quantizers:
                substitute(rw, node, value)
    return reasons


def lower_outputs(rw: Rewriter, operands: QdqOperands) -> list[ir.Node]:
    """Let the integer tensors behind the model's float outputs take their places; the nodes made idle."""
    idle: list[ir.Node] = []
    operands.enter(rw.model.graph)
    for value in list(rw.model.graph.outputs):
        node = value.producer()
        operand = operands.get(value) if node is not None and is_float(value) else None
        if node is None or operand is None or not operand.per_tensor:
            operands.settle(edited=False)
            continue
        if readers := consumers(value):
            rw.interpose(value, _real(rw, value, operand), readers)
        codes = operand.codes
        if not _can_be_output(codes, rw.model.graph):
            codes = rw.op("Identity", [codes], like=codes)
        _describe(rw.model, value.name or "", operand.qparams)
        codes.shape = value.shape if value.shape is not None else codes.shape
        rw.interpose(value, codes)
        operands.settle(edited=True)
        idle.append(node)
    return idle


def substitute(rw: Rewriter, node: ir.Node, value: ir.Value) -> None:
    """Replace a one-output node by a value, through Identity where its public name cannot move there."""
    if node.outputs[0].is_graph_output() and not _can_be_output(value, node.graph):
        value = rw.op("Identity", [value], like=value)
    rw.replace(node, value)


def _can_be_output(value: ir.Value, graph: ir.Graph | ir.Function | None) -> bool:
    """Whether a value may take a public name: a node of the same scope makes it, and it has none yet."""
    maker = value.producer()
    return maker is not None and maker.graph in (graph, None) and not value.is_graph_output()


def _real(rw: Rewriter, value: ir.Value, operand: Operand) -> ir.Value:
    """The float again, for float islands that read an output of the model."""
    name = value.name or "output"
    return rw.op("DequantizeLinear", [operand.codes, *parameters(rw, operand.qparams, name)], like=value)


def _describe(model: ir.Model, name: str, qparams: QParams) -> None:
    model.metadata_props[f"{SCALE}.{name}"] = str(qparams.scale.reshape(-1)[0])
    model.metadata_props[f"{ZERO_POINT}.{name}"] = str(int(qparams.zero_point.reshape(-1)[0]))
