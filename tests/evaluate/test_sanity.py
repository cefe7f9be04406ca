"""sanity: each finding once, and nothing about a healthy graph."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxq.evaluate.sanity import Trouble, sanity

Text = Callable[..., ir.Model]


def network(scales: list[str]) -> str:
    """Linear layers, each behind a Q/DQ pair with one of the scales."""
    body, constants = "", ""
    for i, scale in enumerate(scales):
        constants += f", float s{i} = {{{scale}}}, float[8,8] W{i}"
        body += f"q{i} = QuantizeLinear (x{i}, s{i}, z) d{i} = DequantizeLinear (q{i}, s{i}, z)\n"
        body += f"w{i} = QuantizeLinear (W{i}, sw, zw) v{i} = DequantizeLinear (w{i}, sw, zw)\n"
        body += f"x{i + 1} = MatMul (d{i}, v{i})\n"
    last = len(scales)
    return f"""g (float[2,8] x0) => (float[2,8] x{last})
        <uint8 z = {{128}}, float sw = {{0.02}}, int8 zw = {{0}}{constants}> {{ {body} }}"""


def kinds(model: ir.Model) -> list[tuple[Trouble, str]]:
    return [(finding.kind, finding.value) for finding in sanity(model)]


def test_a_healthy_graph_has_no_findings(onnx_text: Text) -> None:
    assert kinds(onnx_text(network(["0.02", "0.03", "0.01", "0.05", "0.04", "0.02"]))) == []


def test_scales_that_never_saw_data_and_outliers(onnx_text: Text) -> None:
    found = sanity(onnx_text(network(["0.02", "0.03", "1e-41", "0.05", "0.04", "0.02", "1e6"])))
    assert {(f.kind, f.value) for f in found} == {
        (Trouble.NO_RANGE, "x2"),
        (Trouble.NO_RANGE, "d2"),
        (Trouble.OUTLIER_SCALE, "x6"),
    }
    assert all(f.advice and f.what for f in found)


def test_a_zero_point_outside_the_codes_that_a_clip_leaves(onnx_text: Text) -> None:
    model = onnx_text("""g (float[4] x) => (float[4] y)
        <float s = {0.1}, uint8 z = {20}, uint8 l = {0}, uint8 h = {15}> {
            q = QuantizeLinear (x, s, z) c = Clip (q, l, h) y = DequantizeLinear (c, s, z)
        }""")
    (found,) = sanity(model)
    assert (found.kind, found.value) == (Trouble.ZERO_POINT, "x")
    assert "0 … 15" in found.what


def test_gaps_and_float_weights(onnx_text: Text) -> None:
    """One layer reads a float activation, one multiplies by float weights, one by dequantized ones."""
    rows = np.random.default_rng(5).integers(-90, 90, 64).astype(np.float32) * np.float32(0.03)
    grid = ", ".join(str(float(value)) for value in rows)
    model = onnx_text(f"""g (float[2,8] x) => (float[2,8] y, float[2,8] u)
        <float s = {{0.1}}, uint8 z = {{20}}, float[8,8] A, float[8,8] B, float[8,8] C = {{{grid}}}> {{
            q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) a = MatMul (d, A)
            r = QuantizeLinear (a, s, z) e = DequantizeLinear (r, s, z) y = MatMul (e, C)
            t = Relu (x) u = MatMul (t, B)
        }}""")
    next(node for node in model.graph if node.op_type == "Relu").outputs[0].type = ir.TensorType(
        ir.DataType.FLOAT
    )
    assert kinds(model) == [
        (Trouble.UNQUANTIZED, "t"),
        (Trouble.FLOAT_WEIGHTS, "A"),
        (Trouble.INTEGER_WEIGHTS, "C"),
    ]
