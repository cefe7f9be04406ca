"""float16 and float64 models against themselves: ONNX Runtime has kernels for the simple operators.

The text form of ONNX gives float16 constants by their bits: 15360 is 1.0, 14336 is 0.5.
"""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from onnxq import model_io
from onnxq.graph.match import is_op
from onnxq.graph.numeric import Array
from onnxq.graph.scopes import all_nodes, named_values
from onnxq.passes.importing.floats_to_float32 import FloatsToFloat32
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

OnnxText = Callable[..., ir.Model]
OTHERS = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
LIMIT = {np.dtype(np.float16): 2e-3, np.dtype(np.float64): 1e-6}

CASES = {
    "conv": """g (float16[1,2,6,6] x) => (float16[1,4,4,4] y) <float16[4,2,3,3] W> {
        c = Conv (x, W) y = Relu (c) }""",
    "inside only": """g (float[1,2,6,6] x) => (float[1,4,4,4] y) <float16[4,2,3,3] W> {
        h = Cast <to = 10> (x) c = Conv (h, W) y = Cast <to = 1> (c) }""",
    "constants": """g (float16[4] x) => (float16[4] y) {
        c = Constant <value = float16[4] {15360, 16384, 16896, 17408}> ()
        s = Constant <value = int64[1] {4}> ()
        o = ConstantOfShape <value = float16[1] {14336}> (s)
        a = Mul (x, c) y = Add (a, o) }""",
    "output read inside": """g (float16[4] x) => (float16[4] y, float16[4] z) {
        y = Sigmoid (x) z = Mul (y, x) }""",
    "input given away": "g (float16[4] x) => (float16[4] x, float16[4] y) { y = Tanh (x) }",
    "double": "g (double[2,4] x) => (double[2,3] y) <double[4,3] W> { m = MatMul (x, W) y = Tanh (m) }",
    "body": """g (float16[4] x, bool b) => (float16[4] y) {
        y = If (b) <then_branch = t () => (float16[4] p) { p = Sigmoid (x) },
                    else_branch = e () => (float16[4] q) { k = Constant <value = float16[1] {16384}> ()
                                                           q = Mul (x, k) }> }""",
    "sequence": """g (float16[2,4] x) => (float16[1,4] y) {
        s = SplitToSequence <axis = 0> (x) i = Constant <value = int64 {1}> () y = SequenceAt (s, i) }""",
}


def feeds(session: Session) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for port in session.inputs:
        shape = [axis for axis in port.shape if isinstance(axis, int)]
        drawn = rng.standard_normal(shape)
        found[port.name] = np.asarray(drawn > 0 if port.dtype == bool else drawn, port.dtype)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_same_model_in_float32(onnx_text: OnnxText, case: str) -> None:
    model = onnx_text(CASES[case], opset=19)
    before = Session(model.clone(), optimize=False)
    given = feeds(before)
    public = [(v.name, v.dtype) for v in (*model.graph.inputs, *model.graph.outputs)]
    assert FloatsToFloat32().run(model, Context()).modified
    model_io.check(model)
    assert [(v.name, v.dtype) for v in (*model.graph.inputs, *model.graph.outputs)] == public
    inside = set(named_values(model).values()) - {*model.graph.inputs, *model.graph.outputs}
    assert not [value.name for value in inside if value.dtype in OTHERS]
    expected, found = before.run(given), Session(model, optimize=False).run(given)
    for name, array in expected.items():
        limit = LIMIT.get(array.dtype, 2e-3)
        np.testing.assert_allclose(found[name].astype(float), array.astype(float), rtol=limit, atol=limit)
    assert not FloatsToFloat32().run(model, Context()).modified


def test_bfloat16_keeps_its_values() -> None:
    """ONNX Runtime has no kernels for it here: against numpy."""
    weight = np.array([[0.5, -3], [1.25, 100]], ml_dtypes.bfloat16)
    proto = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 19]>
        g (float[1,2] x) => (float[1,2] y) {
            h = Cast <to = 16> (x) m = MatMul (h, W) y = Cast <to = 1> (m) }""")
    proto.graph.initializer.append(ir.to_proto(ir.tensor(weight, name="W")))
    model = model_io.from_proto(proto)
    FloatsToFloat32().run(model, Context())
    model_io.check(model)
    x = np.array([[1.5, -2]], np.float32)
    found = Session(model).run({"x": x})["y"]
    np.testing.assert_array_equal(found, x @ weight.astype(np.float32))


def test_masks_of_float64_saturate(onnx_text: OnnxText) -> None:
    text = """g (double[2] x) => (double[2] y) {
        m = Constant <value = double[2] {0, -1.7e308}> () a = Add (x, m) y = Softmax (a) }"""
    model = onnx_text(text, opset=19)
    FloatsToFloat32().run(model, Context())
    found = Session(model).run({"x": np.array([1.0, 5.0])})["y"]
    np.testing.assert_array_equal(found, [1, 0])


@pytest.mark.parametrize(
    "text",
    [
        "g (float[4] x) => (float[4] y) { y = Relu (x) }",
        "g (float[4] x) => (float16[4] y) { r = Relu (x) y = Cast <to = 10> (r) }",
        "g (float16[4] x) => (float[4] y) { r = Cast <to = 1> (x) y = Relu (r) }",
    ],
)
def test_float32_models_stay_as_they_are(onnx_text: OnnxText, text: str) -> None:
    model = onnx_text(text, opset=19)
    before = model_io.to_proto(model).SerializeToString()
    assert not FloatsToFloat32().run(model, Context()).modified
    assert model_io.to_proto(model).SerializeToString() == before


def test_functions_come_first(onnx_text: OnnxText) -> None:
    text = """<ir_version: 9, opset_import: ["": 19, "f": 1]>
        g (float16[4] x) => (float16[4] y) { y = f.A (x) }
        <domain: "f", opset_import: ["": 19]> A (a) => (b) { b = Relu (a) }"""
    outcome = FloatsToFloat32().run(onnx_text(text), Context())
    assert not outcome.modified
    assert "run inline-functions" in outcome.skips[0].reason


def test_casts_between_floats_vanish_with_the_noop_casts(rewrite: Callable[..., object]) -> None:
    rewrite(
        "floats-to-float32, infer-shapes, eliminate-noop-cast",
        before="""g (float[4] x) => (float[4] y) {
            h = Cast <to = 10> (x) s = Sigmoid (h) f = Cast <to = 1> (s) y = Relu (f) }""",
        after="g (float[4] x) => (float[4] y) { s = Sigmoid (x) y = Relu (s) }",
        rtol=2e-3,
        types=True,
    )


def test_no_cast_is_left_unread(onnx_text: OnnxText) -> None:
    model = onnx_text("g (float16[4] x, float16[4] z) => (float16[4] y) { y = Relu (x) }", opset=19)
    FloatsToFloat32().run(model, Context())
    casts = [node for node in all_nodes(model) if is_op(node, "Cast")]
    assert len(casts) == 2
