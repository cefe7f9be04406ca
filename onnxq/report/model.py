"""What a model is: its ports, operators, numbers, quantization and provenance."""

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir

from onnxq.data.codes import read_codes
from onnxq.graph.match import constant, is_op
from onnxq.graph.outline import type_text
from onnxq.graph.scopes import all_nodes, scopes
from onnxq.report.table import Table, size
from onnxq.tensors import tensor_slots
from onnxq.words import listed, plural

__all__ = ["facts", "operators", "ports"]


def ports(model: ir.Model) -> Table:
    """Inputs and outputs with their types; integer codes with their scale and zero point."""
    graph = model.graph
    rows = [
        (value.name or "", kind, type_text(value), _note(model, value))
        for kind, values in (("input", graph.inputs), ("output", graph.outputs))
        for value in values
    ]
    return Table("", ["name", "kind", "type", "note"], rows)


def operators(model: ir.Model) -> Table:
    """How often each operator occurs in each scope, the most frequent first."""
    rows = [
        (scope.path, op, str(count))
        for scope in scopes(model)
        for op, count in sorted(Counter(map(_op, scope.graph)).items(), key=lambda item: (-item[1], item[0]))
    ]
    return Table("", ["scope", "op", ">nodes"], rows)


def facts(model: ir.Model, on_disk: int) -> Iterator[str]:
    """Versions, size, quantization and the stamp of onnxq, one line each."""
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in model.opset_imports.items())
    tensors = [slot.tensor for slot in tensor_slots(model)]
    yield f"opset: {opsets}; IR version {model.ir_version}"
    if model.producer_name:
        yield f"producer: {model.producer_name} {model.producer_version or ''}".rstrip()
    yield f"nodes: {sum(1 for _ in all_nodes(model))}"
    parameters = sum(tensor.size for tensor in tensors)
    yield f"parameters: {parameters} in {plural(len(tensors), 'tensor')}, {_dtypes(tensors)}"
    yield f"size: {size(on_disk)}"
    yield f"quantization: {_quantization(model)}"
    for key in ("pipeline", "version", "input_sha256"):
        if (text := model.metadata_props.get(f"onnxq.{key}")) is not None:
            yield f"onnxq.{key}: {text}"


def _note(model: ir.Model, value: ir.Value) -> str:
    if value.name in model.graph.initializers:
        return "has a default"
    codes = read_codes(model.metadata_props, value.name or "")
    return "" if codes is None else f"scale {codes.scale:.6g}, zero point {codes.zero_point}"


def _quantization(model: ir.Model) -> str:
    nodes = list(all_nodes(model))
    counts = [sum(is_op(node, op) for node in nodes) for op in ("QuantizeLinear", "DequantizeLinear")]
    codes = Counter(
        array.dtype.name
        for node in nodes
        if is_op(node, "QuantizeLinear", "DequantizeLinear")
        and len(node.inputs) > 2
        and (array := constant(node.inputs[2])) is not None
    )
    if any(counts):
        kinds = listed(f"{count} {dtype}" for dtype, count in codes.most_common())
        return f"{counts[0]} QuantizeLinear, {counts[1]} DequantizeLinear; zero points: {kinds or 'none'}"
    if any(is_op(node, "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul") for node in nodes):
        return "integer operators, no Q/DQ"
    return "none"


def _dtypes(tensors: list[ir.TensorProtocol]) -> str:
    totals: Counter[str] = Counter()
    for tensor in tensors:
        totals[tensor.dtype.name.lower()] += tensor.nbytes
    return listed(f"{dtype} {size(total)}" for dtype, total in totals.most_common()) or "none"


def _op(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type
