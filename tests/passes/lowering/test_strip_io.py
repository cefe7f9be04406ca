"""strip-io and float-io: codes at the border, their meaning in the metadata, and the way back."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxq.data.codes import read_codes
from onnxq.errors import ModelError
from onnxq.graph.match import constants
from onnxq.graph.numeric import Array
from onnxq.graph.outline import outline
from onnxq.passes.lowering.float_io import FloatIo
from onnxq.passes.lowering.strip_io import StripIo
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

Rewrite = Callable[..., Outcome]
Text = Callable[..., ir.Model]

FLOATS = """g (float[1,4] x, int64[1] n) => (float[1,4] y, int64[1] n2)
    <float s = {0.5}, uint8 z = {3}, float t = {0.00390625}, uint8 v = {0}> {
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    e = Softmax (d)
    p = QuantizeLinear (e, t, v)
    y = DequantizeLinear (p, t, v)
    n2 = Add (n, n)
}"""

CODES = """g (uint8[1,4] x, int64[1] n) => (uint8[1,4] y, int64[1] n2)
    <float s = {0.5}, uint8 z = {3}, float t = {0.00390625}, uint8 v = {0}> {
    d = DequantizeLinear (x, s, z)
    e = Softmax (d)
    y = QuantizeLinear (e, t, v)
    n2 = Add (n, n)
}"""


def test_codes_go_in_and_out(rewrite: Rewrite) -> None:
    outcome = rewrite("strip-io", before=FLOATS, after=CODES, rtol=None)
    metadata = outcome.model.metadata_props
    assert not outcome.skips
    assert metadata["onnxq.scale.x"] == "0.5"
    assert metadata["onnxq.zero_point.x"] == "3"
    assert metadata["onnxq.scale.y"] == "0.00390625"
    assert metadata["onnxq.zero_point.y"] == "0"
    assert not any(key.endswith(".n") for key in metadata)


def test_codes_mean_what_the_floats_were(onnx_text: Text) -> None:
    floats = onnx_text(FLOATS)
    codes = StripIo().run(floats.clone(), Context()).model
    x, n = np.array([[-1.3, 0.2, 7.0, 500.0]], np.float32), np.array([4])
    given_x, given_y = (read_codes(codes.metadata_props, name) for name in "xy")
    assert given_x is not None
    assert given_y is not None
    expected = Session(floats, optimize=False).run({"x": x, "n": n})
    fed = {"x": given_x.quantize(x, np.dtype(np.uint8)), "n": n}
    found = Session(codes, optimize=False).run(fed)
    np.testing.assert_array_equal(given_y.dequantize(found["y"]).astype(np.float32), expected["y"])
    np.testing.assert_array_equal(found["n2"], expected["n2"])


def test_there_and_back(onnx_text: Text) -> None:
    model = onnx_text(FLOATS)
    before = outline(model, canonical=True)
    there = StripIo().run(model, Context())
    back = FloatIo().run(there.model, Context())
    assert (there.edits > 0, back.edits > 0) == (True, True)
    assert outline(back.model, canonical=True) == before
    assert not back.model.metadata_props
    assert FloatIo().run(back.model, Context()).edits == 0


@given(
    scale=st.floats(min_value=2.0**-126, max_value=2.0**127, width=32),
    zero_point=st.integers(-128, 127),
)
def test_every_scale_survives_the_metadata(scale: float, zero_point: int) -> None:
    graph = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["": 19]> '
        "g (float[2] x) => (float[2] y) <float s = {1}, int8 z = {0}> "
        "{ q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }"
    )
    values: dict[str, Array] = {"s": np.asarray(scale, np.float32), "z": np.asarray(zero_point, np.int8)}
    for name, array in values.items():
        graph.graph.initializers[name].const_value = ir.tensor(array, name=name)
    back = FloatIo().run(StripIo().run(graph, Context()).model, Context()).model
    assert back.graph.inputs[0].dtype == ir.DataType.FLOAT
    for node in back.graph:
        if node.op_type != "Identity":
            found = constants(node.inputs[1:])
            assert found is not None
            assert [array.tobytes() for array in found] == [array.tobytes() for array in values.values()]


def test_an_output_that_is_read_inside_keeps_its_readers(onnx_text: Text) -> None:
    """The readers of a code must go on reading the code, not the float that is put behind it."""
    model = onnx_text(
        "g (uint8[4] x) => (uint8[4] y, uint8[4] m) { y = Identity (x) m = Max (y, x) }",
    )
    for name in "xy":
        model.metadata_props.update({f"onnxq.scale.{name}": "0.25", f"onnxq.zero_point.{name}": "7"})
    made = FloatIo().run(model, Context()).model
    assert [output.name for output in made.graph.outputs] == ["y", "m"]
    found = Session(made).run({"x": np.array([0.0, 1.0, -1.75, 99.0], np.float32)})
    np.testing.assert_array_equal(found["y"], np.array([0.0, 1.0, -1.75, 62.0], np.float32))
    np.testing.assert_array_equal(found["m"], np.array([7, 11, 0, 255], np.uint8))


REFUSED = {
    "input read as a float": (
        "g (float[4] x) => (uint8[4] y, float[4] r) <float s = {0.5}, uint8 z = {3}> "
        "{ y = QuantizeLinear (x, s, z) r = Neg (x) }",
        "input 'x'",
        "read as a float, by Neg",
    ),
    "input quantized twice": (
        "g (float[4] x) => (uint8[4] y, uint8[4] w) <float s = {0.5}, float t = {0.25}, uint8 z = {3}> "
        "{ y = QuantizeLinear (x, s, z) w = QuantizeLinear (x, t, z) }",
        "input 'x'",
        "different parameters",
    ),
    "float output": ("g (float[4] x) => (float[4] y) { y = Neg (x) }", "output 'y'", "makes it as a float"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_left_float_with_a_reason(rewrite: Rewrite, case: str) -> None:
    text, where, reason = REFUSED[case]
    skips = rewrite("strip-io", text, None).skips
    assert any(skip.node == where and reason in skip.reason for skip in skips)


@pytest.mark.parametrize(
    ("scale", "zero_point", "message"),
    [
        ("0", "0", "positive"),
        ("nan", "0", "positive"),
        ("1e300", "0", "float32 scale"),
        ("1", "300", "uint8"),
    ],
)
def test_metadata_that_makes_no_sense(onnx_text: Text, scale: str, zero_point: str, message: str) -> None:
    model = onnx_text("g (uint8[4] x) => (uint8[4] y) { y = Identity (x) }")
    model.metadata_props.update({"onnxq.scale.x": scale, "onnxq.zero_point.x": zero_point})
    with pytest.raises(ModelError, match=message):
        FloatIo().run(model, Context())


def test_what_quantize_linear_does_not_know_stays(onnx_text: Text) -> None:
    model = onnx_text("g (int16[4] x) => (int16[4] y) { y = Identity (x) }", 19)
    model.metadata_props["onnxq.scale.x"] = "0.5"
    outcome = FloatIo().run(model, Context())
    assert (outcome.edits, outcome.skips[0].reason) == (
        0,
        "it is int16, which QuantizeLinear does not know at opset 19",
    )
