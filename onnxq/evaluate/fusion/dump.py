"""What ONNX Runtime's CPU provider really makes of a model, read from the optimized model that it writes.

The optimized model keeps the names of nodes that it fuses, so each node is found again by its name, or by the
value that it made; it ran on integers if what is there now is an integer operator. What is gone without a
trace (a Relu that vanished, the parts of a fused GELU) is taken to be where its value went.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort

from onnxq import model_io
from onnxq.errors import ModelError
from onnxq.evaluate.fusion.onnxruntime_cpu import predict
from onnxq.evaluate.fusion.view import tidied
from onnxq.graph.match import consumers, is_op, producer
from onnxq.targets.target import Target

__all__ = ["agreement", "disagreements", "optimized"]

_INTEGER = ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "MatMulInteger", "ConvInteger")
_CODES = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16})


def agreement(model: ir.Model, target: Target) -> tuple[int, int]:
    """(nodes whose prediction came true, nodes that can be told) of the main graph."""
    told = list(_compared(model, target))
    return sum(predicted == real for _, predicted, real in told), len(told)


def disagreements(model: ir.Model, target: Target) -> list[tuple[str, bool, bool]]:
    """(node, predicted on integers, really on integers) where the two differ."""
    return [row for row in _compared(model, target) if row[1] != row[2]]


def _compared(model: ir.Model, target: Target) -> Iterator[tuple[str, bool, bool]]:
    model = model.clone()
    for i, node in enumerate(model.graph):
        node.name = f"node{i}_{node.op_type}"
    allowed = "int8*int8" not in target.slow
    real = _runs_on_integers(model, int8_allowed=allowed)
    for node, verdict in predict(tidied(model), int8_allowed=allowed).items():
        if node.name in real and not is_op(node, "Identity", "Dropout"):
            yield f"{node.name} ({verdict.pattern})", verdict.integer, real[node.name]


def _runs_on_integers(model: ir.Model, *, int8_allowed: bool = False) -> dict[str, bool]:
    """For every named node of the main graph that can be found again: whether it runs on integers."""
    made = optimized(model, int8_allowed=int8_allowed)
    by_name = {node.name: node for node in made.graph if node.name}
    by_value = {output.name: node for node in made.graph for output in node.outputs if output.name}
    found: dict[str, bool] = {}
    for node in model.graph:
        if is_op(node, "QuantizeLinear", "DequantizeLinear", "Constant"):
            continue
        now = _now(node, by_name, by_value)
        if now is not None and node.name:
            found[node.name] = _is_integer(now)
    return found


def optimized(model: ir.Model, *, int8_allowed: bool = False) -> ir.Model:
    """The model after ONNX Runtime's extended optimizations.

    Raises:
        ModelError: ONNX Runtime cannot load the model.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if int8_allowed:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    with tempfile.TemporaryDirectory(prefix="onnxq-") as folder:
        source, written = Path(folder) / "model.onnx", Path(folder) / "optimized.onnx"
        model_io.save(model, source)
        options.optimized_model_filepath = str(written)
        try:
            ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise ModelError(f"ONNX Runtime cannot load the model: {error}") from error
        return ir.from_proto(ir.to_proto(ir.load(written)))


def _now(node: ir.Node, by_name: dict[str, ir.Node], by_value: dict[str, ir.Node]) -> ir.Node | None:
    """What a node has become; of a MatMul and its Add the Gemm of both."""
    names = [
        node.name or "",
        *(f"{p.name}/MatMulAddFusion" for v in node.inputs if (p := producer(v)) is not None),
    ]
    for name in (names[0], f"{names[0]}/MatMulAddFusion", *names[1:]):
        if name in by_name:
            return by_name[name]
    for value in _onward(node):
        if value.name in by_value:
            return by_value[value.name]
    return None


def _onward(node: ir.Node) -> Iterator[ir.Value]:
    """The results of a node, then the codes that are made of them."""
    yield from node.outputs
    for output in node.outputs:
        yield from (reader.outputs[0] for reader in consumers(output) if is_op(reader, "QuantizeLinear"))


def _is_integer(node: ir.Node) -> bool:
    if node.op_type in _INTEGER or node.op_type.startswith("QLinear"):
        return True
    return any(_holds_codes(value) for value in (*node.inputs[:1], *node.outputs[:1]))


def _holds_codes(value: ir.Value | None) -> bool:
    """The types that the optimized model does not declare follow from what made the value."""
    for _ in range(1000):
        maker = producer(value)
        if value is None or value.dtype is not None:
            return value is not None and value.dtype in _CODES
        if maker is None or is_op(maker, "DequantizeLinear") or maker.op_type == "MatMulIntegerToFloat":
            return False
        if is_op(maker, "QuantizeLinear") or maker.op_type.startswith("QLinear"):
            return True
        if maker.op_type == "QGemm":
            return len(maker.inputs) > 7
        value = maker.inputs[0]
    return False
