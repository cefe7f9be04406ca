"""import-fake-quant: what is refused and why, Q/DQ of the standard, old opsets, bodies."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.graph.match import constant
from onnxq.graph.outline import outline
from onnxq.passes.importing.import_fake_quant import ImportFakeQuant
from onnxq.pipeline.context import Context

from .dialects import LINE, QONNX, Text, X, grid, imported, ops, values

REFUSED = {
    "unknown operator": (f"y = {QONNX}.MultiThreshold (x, s)", "unknown operator"),
    "dynamic scale": (f"t = ReduceMax <keepdims = 0> (x) y = {QONNX}.Quant (x, t, zero, b)", "at run time"),
    "scale of zero": (f"y = {QONNX}.Quant (x, zero, zero, b)", "never saw data"),
    "half a zero point": (f"y = {QONNX}.Quant (x, s, half, b)", "between two codes"),
    "too many bits": (f"y = {QONNX}.Quant (x, s, zero, sixteen)", "raise-opset{opset=21}"),
    "channels": (f"y = {QONNX}.Quant (x, five, zero, b)", "along one axis|channels of axis"),
    "dead range": ("y = tf.FakeQuantWithMinMaxVars (x, zero, zero)", "never saw data"),
    "wrong axis": (
        "q = QuantizeLinear <axis = 2> (x, three, z3) y = DequantizeLinear <axis = 2> (q, three, z3)",
        "3 scales along axis 2",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_held_is_kept_with_the_reason(onnx_text: Text, case: tuple[str, str]) -> None:
    body, reason = case
    constants = """float s = {0.5}, float zero = {0.0}, float half = {0.5}, float b = {4.0},
        float sixteen = {16.0}, float[5,1] five = {1.0, 2.0, 3.0, 4.0, 5.0},
        float[3] three = {0.1, 0.2, 0.3}, int8[3] z3 = {0, 0, 0}"""
    model = onnx_text(LINE.format(constants=constants, body=body), opset=19)
    was = outline(model)
    done = ImportFakeQuant().run(model, Context())
    assert outline(model) == was
    assert done.skips
    assert any(word in done.skips[0].reason for word in reason.split("|")), done.skips


def test_q_dq_of_opset_10_has_no_axis(onnx_text: Text) -> None:
    constants = "float[3] s = {0.1, 0.2, 0.3}, int8[3] z = {0, 0, 0}"
    text = LINE.format(
        constants=constants, body="q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
    )
    done = ImportFakeQuant().run(onnx_text(text, opset=10), Context())
    assert not done.modified
    assert "opset 10 has no axis" in done.skips[0].reason


FORMATS = {
    "blocked": "int8[4,6] W, float[2,6] scale, int8[2,6] zero",
    "16 bits": "int16[4,6] W, float s = {0.001}, int16 z = {0}",
}
READS = {
    "blocked": "DequantizeLinear <axis = 0, block_size = 2> (W, scale, zero)",
    "16 bits": "DequantizeLinear (W, s, z)",
}


@pytest.mark.parametrize("name", FORMATS)
def test_standard_formats_stay_as_they_are(onnx_text: Text, name: str) -> None:
    body = f"w = {READS[name]} y = MatMul (x, w)"
    model = onnx_text(f"g (float[1,4] x) => (float[1,6] y) <{FORMATS[name]}> {{ {body} }}")
    done = ImportFakeQuant().run(model, Context())
    assert not done.modified
    assert not done.skips


@pytest.mark.parametrize(
    ("kind", "low", "high", "opset"),
    [("int4", -8, 7, 21), ("uint4", 0, 15, 21), ("int2", -2, 1, 25), ("uint2", 0, 3, 25)],
)
def test_codes_of_few_bits_become_8_bits(onnx_text: Text, kind: str, low: int, high: int, opset: int) -> None:
    """Weights keep their numbers, a pair what it cuts off."""
    text = f"""g (float[2,3,16] x) => (float[2,3,2] y)
        <float[16,2] V, float s = {{0.21}}, {kind} z = {{1}}> {{
            q = QuantizeLinear (x, s, z)
            d = DequantizeLinear (q, s, z)
            W = QuantizeLinear (V, s, z)
            r = DequantizeLinear (W, s, z)
            y = MatMul (d, r)
        }}"""
    model = onnx_text(text, opset=opset)
    weight = constant(model.graph.initializers["V"])
    assert weight is not None
    done = imported(model)
    assert ops(done.model) == ["Clip", "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"]
    expected = grid(X, 0.21, 1, low, high) @ grid(weight, 0.21, 1, low, high)
    np.testing.assert_allclose(values(done.model), expected, rtol=1e-6, atol=1e-6)


def test_constants_of_few_bits_become_8_bits(onnx_text: Text) -> None:
    """Scales per channel, and a zero point that is left out."""
    codes = np.arange(-8, 8).reshape(2, 8)
    model = onnx_text("""g (float[1,2] x) => (float[1,8] y) <int4[2,8] W, float[8] scale> {
        w = DequantizeLinear <axis = 1> (W, scale)
        y = MatMul (x, w)
    }""")
    model.graph.initializers["W"].const_value = ir.tensor(codes.astype(ir.DataType.INT4.numpy()), name="W")
    node = imported(model).model.graph[0]
    found = constant(node.inputs[0])
    assert found is not None
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, codes)


def test_a_qonnx_file_of_opset_9_is_raised(onnx_text: Text) -> None:
    """There are no Q/DQ at opset 9, and Clip has attributes: the result has to be valid where it stands."""
    body = f"y = {QONNX}.Quant <signed = 1, narrow = 0> (x, s, z, b)"
    constants = "float s = {0.13}, float z = {0.0}, float b = {3.0}"
    done = imported(onnx_text(LINE.format(constants=constants, body=body), opset=9))
    assert done.model.opset_imports[""] >= 13
    onnx.checker.check_model(ir.to_proto(done.model), full_check=True)
    np.testing.assert_array_equal(values(done.model), grid(X, 0.13, 0, -4, 3))


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan, np.inf, 1e-44])
def test_scales_of_plain_q_dq_that_are_no_scales_are_named(onnx_text: Text, scale: float) -> None:
    body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
    model = onnx_text(LINE.format(constants="float s = {0.1}, uint8 z = {0}", body=body))
    model.graph.initializers["s"].const_value = ir.tensor(np.float32(scale), name="s")
    done = ImportFakeQuant().run(model, Context())
    assert "never saw data" in done.skips[0].reason


def test_a_missing_input_is_called_missing(onnx_text: Text) -> None:
    done = ImportFakeQuant().run(
        onnx_text(LINE.format(constants="float s = {0.1}", body=f"y = {QONNX}.Quant (x, s)")), Context()
    )
    assert "is missing" in done.skips[0].reason


def test_q_and_dq_of_different_types_are_named(onnx_text: Text) -> None:
    constants = "float s = {0.1}, uint8 z = {3}, int8 w = {0}"
    body = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, w)"
    done = ImportFakeQuant().run(onnx_text(LINE.format(constants=constants, body=body)), Context())
    assert "its codes are uint8 and its zero point is int8" in done.skips[0].reason


def test_inside_the_body_of_an_if(onnx_text: Text) -> None:
    """The body is its own scope: nodes stay in it, constants too."""
    model = onnx_text(f"""g (bool c, float[2,3,16] x) => (float[2,3,16] y)
        <float s = {{0.13}}, float z = {{0.0}}, float b = {{3.0}}> {{
            y = If (c) <
                then_branch = t () => (float[2,3,16] u) {{ u = {QONNX}.Quant <signed = 1> (x, s, z, b) }},
                else_branch = e () => (float[2,3,16] v) {{ v = Neg (x) }}
            >
        }}""")
    model.opset_imports[QONNX] = 1
    done = imported(model)
    now = values(done.model, {"x": X, "c": np.array(True)})
    np.testing.assert_array_equal(now, grid(X, 0.13, 0, -4, 3))
