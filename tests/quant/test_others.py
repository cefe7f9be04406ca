"""others: products on 8 bits, what lies between them in float or on 16 bits."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxq.errors import UsageError
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.passes.quantization.insert_qdq import InsertQdq
from onnxq.pipeline.context import Context
from onnxq.quant.plan import Role

Text = Callable[..., ir.Model]

BLOCK = """g (float[7,4] x) => (float[7,4] y)
    <float[4] gain, float[4] offset, float[4,8] A, float[8] a, float[8,4] B> {
    n = LayerNormalization (x, gain, offset)
    m = MatMul (n, A) h = Add (m, a) r = Sigmoid (h) t = Mul (r, h)
    u = Reshape (t, shape) v = MatMul (u, B)
    y = Add (v, x) }""".replace("float[8,4] B>", "float[8,4] B, int64[2] shape = {7, 8}>")


def _activations(text: str, onnx_text: Text, others: str | None) -> tuple[dict[str, str], list[str]]:
    model = InferShapes().run(onnx_text(text), Context()).model
    plan = InsertQdq(others=others).plan(model, Context())
    formats = {d.value: str(d.format) for d in plan.values if d.role is Role.ACTIVATION}
    return formats, [node.op for node in plan.nodes if node.quantized]


def test_with_float_the_inputs_of_products_alone_are_codes(onnx_text: Text) -> None:
    formats, quantized = _activations(BLOCK, onnx_text, "float")
    assert formats == {"n": "uint8", "t": "uint8", "u": "uint8"}
    assert quantized == ["MatMul", "Reshape", "MatMul"]


def test_with_16_bits_what_no_product_reads_is_wide(onnx_text: Text) -> None:
    formats, quantized = _activations(BLOCK, onnx_text, "int16")
    narrow = {name for name, dtype in formats.items() if dtype == "uint8"}
    assert narrow == {"n", "t", "u", "r"}, "Sigmoid keeps its known range"
    assert {formats[name] for name in ("x", "h", "v", "y")} == {"int16"}
    assert quantized == [*_activations(BLOCK, onnx_text, None)[1]]


def test_a_rule_of_the_recipe_wins(onnx_text: Text) -> None:
    model = InferShapes().run(onnx_text(BLOCK), Context()).model
    recipe = "[[rule]]\nvalue = 'v'\ndtype = 'uint8'"
    plan = InsertQdq(others="int16", recipe=recipe).plan(model, Context())
    assert next(str(d.format) for d in plan.values if d.value == "v") == "uint8"


@pytest.mark.parametrize("others", ["int5", "int32"])
def test_a_format_that_the_target_lacks_is_refused(others: str, onnx_text: Text) -> None:
    with pytest.raises(UsageError):
        _activations(BLOCK, onnx_text, others)
