"""What a Q/DQ file has to keep so that a target's toolchain reads it right: one small check a rule.

    for finding in check_rules(model, load_target("tidl")):
        print(finding.rule, finding.where, finding.text, finding.demanded_by)

| rule             | what is checked                                              | demanded by             |
|------------------|--------------------------------------------------------------|-------------------------|
| ``version``      | opset and IR version not newer than the target's             | RKNN, onnx.reference    |
| ``domain``       | no operator of com.microsoft                                 | all but ONNX Runtime    |
| ``value-info``   | every value has a type and a shape                           | emx-onnx-cgen, QNN      |
| ``static``       | every axis of the inputs and outputs is a number             | QNN, TIDL, ST, TFLite   |
| ``zero-point``   | every Q and DQ has one, biases included                      | RKNN, QONNX             |
| ``rank``         | per-tensor parameters have rank 0, per-channel rank 1        | onnx2c                  |
| ``dtype``        | activations have the target's dtypes                         | each target             |
| ``symmetric``    | zero point 0 (unsigned: the middle)                          | TensorRT, AMD, ESP-DL   |
| ``power-of-two`` | scales are powers of two                                     | AMD, TIDL, ESP-DL       |
| ``weight``       | integer constants, zero point 0, within the target's bits    | OpenVINO, ONNX Runtime  |
| ``granularity``  | per channel only where the target has it, along the outputs  | TIDL, ESP-DL, TFLite    |
| ``bias``         | int32, zero point 0, at exactly s_x·s_w (or float)           | ONNX Runtime, RKNN      |
| ``open-end``     | a Q behind every Conv, Gemm, MatMul, behind its Relu or Clip | QNN                     |
|                  | or the Add that takes in its sums (``fuse_sum``)             |                         |
| ``clamp``        | behind a Relu the zero point is the lowest code              | QNN, ONNX Runtime       |
| ``range``        | functions of known range have their scale, Softmax 1/256     | QNN, TFLite             |
| ``move``         | operators that only move values have one scale on both sides | TFLite, QNN, ONNX R.    |

A rule is held only where the target's file asks for it: symmetric scales, static shapes and so on.
Targets of the form ``integer`` are not checked here: onnxq verify --integer-only is for them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onnxq.graph.match import is_op
from onnxq.targets import value_rules, weight_rules
from onnxq.targets.coded_values import Breaches
from onnxq.targets.findings import Finding
from onnxq.targets.target import Target

__all__ = ["RULES", "Finding", "Rule", "check_rules"]


@dataclass(frozen=True)
class Rule:
    """One rule: its name, the toolchain that demands it, and the check: (where, what is wrong) pairs."""

    name: str
    demanded_by: str
    check: Callable[[ir.Model, Target], Breaches]


def check_rules(model: ir.Model, target: Target) -> list[Finding]:
    """Every breach of the target's rules, rule by rule, in the order of the graph."""
    return [
        Finding(rule.name, where, text, rule.demanded_by)
        for rule in RULES
        for where, text in rule.check(model, target)
    ]


def _version(model: ir.Model, target: Target) -> Breaches:
    wide = any(
        node.inputs[2].dtype in (ir.DataType.INT16, ir.DataType.UINT16)
        for node in model.graph
        if is_op(node, "QuantizeLinear", "DequantizeLinear")
        and len(node.inputs) > 2
        and node.inputs[2] is not None
    )
    opset, ir_version = (
        (max(target.opset, 21), max(target.ir_version, 10)) if wide else (target.opset, target.ir_version)
    )
    found = model.opset_imports.get("", 0)
    if found > opset:
        yield (
            "the model",
            f"opset {found}, the target reads up to {opset}; run expand-new-operators{{opset={opset}}}",
        )
    if model.ir_version > ir_version:
        yield "the model", f"IR version {model.ir_version}, the target reads up to {ir_version}"


def _domain(model: ir.Model, target: Target) -> Breaches:
    for node in model.graph:
        if node.domain not in ("", "ai.onnx") and target.engine != "onnxruntime-cpu":
            yield node.name or node.op_type, f"{node.domain}::{node.op_type} is no operator of the standard"


def _value_info(model: ir.Model, target: Target) -> Breaches:
    for node in model.graph:
        for value in node.outputs:
            if value.name and (value.dtype is None or value.shape is None):
                yield value.name, "its type or shape is not declared; run infer-shapes"


def _static(model: ir.Model, target: Target) -> Breaches:
    if not target.static_shapes:
        return
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.name in model.graph.initializers:
            continue
        if value.shape is None or not all(isinstance(axis, int) for axis in value.shape):
            yield value.name or "", f"its shape {value.shape} is not fixed; run fix-shapes before quantizing"


RULES: tuple[Rule, ...] = (
    Rule("version", "RKNN (opset 19), onnx.reference", _version),
    Rule("domain", "every runtime but ONNX Runtime", _domain),
    Rule("value-info", "emx-onnx-cgen, QNN", _value_info),
    Rule("static", "QNN, TIDL, ST Edge AI, TFLite", _static),
    Rule("zero-point", "RKNN, QONNX", value_rules.zero_point),
    Rule("rank", "onnx2c", value_rules.rank_of_parameters),
    Rule("dtype", "the target", value_rules.dtype),
    Rule("symmetric", "TensorRT, AMD, TIDL on TDA4VM, ESP-DL", value_rules.symmetric),
    Rule("power-of-two", "AMD, TIDL on TDA4VM, ESP-DL", value_rules.power_of_two),
    Rule("weight", "OpenVINO, ONNX Runtime", weight_rules.weight),
    Rule("granularity", "TIDL on TDA4VM, ESP-DL, TFLite, QNN", weight_rules.granularity),
    Rule("bias", "ONNX Runtime, RKNN", weight_rules.bias),
    Rule("open-end", "QNN", value_rules.open_end),
    Rule("clamp", "QNN, ONNX Runtime", value_rules.clamp),
    Rule("range", "QNN, TFLite", value_rules.fixed_range),
    Rule("move", "TFLite, QNN, ONNX Runtime", value_rules.move),
)
"""All rules in the order of checking."""
