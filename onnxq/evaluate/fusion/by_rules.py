"""What a target that cannot be run here makes of a Q/DQ graph, as far as its file tells.

A node runs on integers if the target has an integer form of it, its operands are dequantized and its result
is quantized; a moving operator needs one scale on both sides. A Relu or Clip may stand before the Q.
"""

import onnx_ir as ir

from onnxq.evaluate.fusion.verdict import Left, Verdict
from onnxq.evaluate.fusion.view import Codes, View
from onnxq.graph.match import constant, is_op, producer, sole_consumer
from onnxq.quant.eligibility import Kind, kind
from onnxq.quant.operators import LINEAR, bias_add, merging_add, operands, other_operand
from onnxq.targets.target import Target

__all__ = ["predict"]


def predict(model: ir.Model, target: Target) -> dict[ir.Node, Verdict]:
    """A verdict for every node but Q, DQ and constants."""
    view = View(model)
    nodes = [node for node in view.nodes if not is_op(node, "QuantizeLinear", "DequantizeLinear")]
    found: dict[ir.Node, Verdict] = {}
    for node in nodes:
        if node in found:
            continue
        try:
            chain = _chain(view, node, target)
            pattern = _pattern(view, node, chain, target)
            found.update(dict.fromkeys(chain[1:], Verdict(True, pattern)))
            found[node] = Verdict(True, pattern, kernel=_kernel(view, node))
        except Left as left:
            found[node] = left.verdict
    return found


def _chain(view: View, node: ir.Node, target: Target) -> list[ir.Node]:
    """A node with the Add of its bias, the Add that takes in its sums, and the Relu or Clip behind."""
    chain = [node]
    if (add := bias_add(node)) is not None:
        chain.append(add)
    sums = chain[-1].outputs[0]
    merging = merging_add(sums, target)
    if merging is not None and view.read(other_operand(merging, sums)) is not None:
        chain.append(merging)
    clamp = sole_consumer(chain[-1].outputs[0], "Relu", "Clip")
    if clamp is not None and is_op(chain[-1] if merging in chain else node, *target.fuse_activation):
        chain.append(clamp)
    return chain


def _pattern(view: View, node: ir.Node, chain: list[ir.Node], target: Target) -> str:
    if (how := kind(node, target)) is Kind.FLOAT:
        raise Left(f"target {target.name} has no integer {node.op_type}")
    reads = [_read(view, v) for i in operands(node).data if (v := node.inputs[i]) is not None]
    weight = operands(node).weight
    if weight is not None:
        _read(view, node.inputs[weight])
    writes = [_written(view, output, node, target) for output in chain[-1].outputs if output.name]
    codes = [c for c in (*reads, *writes) if c is not None]
    if wrong := next((c for c in codes if c.dtype not in {str(f) for f in target.activations}), None):
        raise Left(
            f"'{wrong.pair.name}' is {wrong.dtype}",
            f"the target takes {', '.join(map(str, target.activations))}",
        )
    if how is Kind.MOVE and not all(c.same_as(codes[0]) for c in codes):
        raise Left("scale or zero point differ between its inputs and outputs", "give all of them one scale")
    return " + ".join(n.op_type for n in chain)


def _kernel(view: View, node: ir.Node) -> str:
    x, w = (view.read(value) for value in node.inputs[:2]) if is_op(node, *LINEAR) else (None, None)
    return f"{x.dtype}*{w.dtype}" if x is not None and w is not None else ""


def _read(view: View, value: ir.Value | None) -> Codes | None:
    codes = view.read(value)
    if codes is None and value is not None:
        what = "constant input" if constant(value) is not None else "input"
        raise Left(f"its {what} '{value.name}' is float", f"put Q/DQ on '{value.name}'")
    return codes


def _written(view: View, value: ir.Value, node: ir.Node, target: Target) -> Codes | None:
    written = view.written(value)
    if written:
        return written[0]
    maker = producer(value)
    if is_op(node, *target.float_output) and not is_op(maker, "Relu", "Clip"):
        return None
    if not value.uses() and not value.is_graph_output():
        return None
    raise Left(f"there is no QuantizeLinear behind '{value.name}'", f"put Q/DQ on '{value.name}'")
