"""The outline is stable text: readable in full, and equal for equal structures when canonical."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxq.graph.outline import outline, type_text

OnnxText = Callable[..., ir.Model]


def test_the_full_text_shows_types_constants_attributes_and_bodies(onnx_text: OnnxText) -> None:
    model = onnx_text(
        """<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
        g (bool c, float[N,2] x) => (float[N,2] y)
          <float[N,2] a, float one = {1.0}, int64[2] w = {3, 4}> {
            a = LeakyRelu <alpha = 0.1> (x)
            k = Constant <value_int = 7> ()
            b = Clip (a, , one)
            e = local.f (b)
            r = Reshape <allowzero = 1> (e, w)
            y = If (c) <
                then_branch = t () => (float[N,2] u) { u = Neg (r) },
                else_branch = z () => (float[N,2] v) { v = Cast <to = 1> (k) }>
        }
        <domain: "local", opset_import: ["" : 21]>
        f <alpha> (s) => (t) { t = Elu <alpha = @alpha> (s) }"""
    )
    assert outline(model) == (
        "graph main(%c: bool[], %x: float32[N,2]) -> (%y: float32[N,2])\n"
        "  %a = LeakyRelu(%x) {alpha=0.1} : float32[N,2]\n"
        "  %b = Clip(%a, _, 1.0: float32[]) : ?[…]\n"
        "  %e = local::f(%b) : ?[…]\n"
        "  %r = Reshape(%e, w: int64[2]) {allowzero=1} : ?[…]\n"
        "  %y = If(%c) : float32[N,2]\n"
        "    graph else_branch() -> (%v: float32[N,2])\n"
        "      %v = Cast(7: int64[]) {to=1} : float32[N,2]\n"
        "    graph then_branch() -> (%u: float32[N,2])\n"
        "      %u = Neg(%r) : float32[N,2]\n"
        "graph local::f(%s: ?[…]) -> (%t: ?[…])\n"
        "  %t = Elu(%s) {alpha=@alpha} : ?[…]\n"
    )


def test_canonical_text_forgets_private_names_types_and_values(onnx_text: OnnxText) -> None:
    left = "g (float[2] x) => (float[2] y) <float[2] a, float w = {1.0}> { a = Add (x, w)  y = Relu (a) }"
    right = """g (float[2] x) => (float[2] y) {
        k = Constant <value = float {2.0}> ()  q = Add (x, k)  y = Relu (q)
    }"""
    assert outline(onnx_text(left), canonical=True) == outline(onnx_text(right), canonical=True)
    assert outline(onnx_text(left)) != outline(onnx_text(right))


@pytest.mark.parametrize(
    "other",
    [
        "g (float[2] x) => (float[2] z) <float w = {1.0}> { a = Add (x, w)  z = Elu <alpha = 0.5> (a) }",
        "g (float[2] x) => (float[2] y) <float w = {1.0}> { a = Add (x, w)  y = Elu <alpha = 0.6> (a) }",
        "g (float[2] x) => (float[2] y) <float w = {1.0}> { a = Add (w, x)  y = Elu <alpha = 0.5> (a) }",
        "g (float[2] x) => (float[2] y) <float[1] w = {1.0}> { a = Add (x, w)  y = Elu <alpha = 0.5> (a) }",
        "g (float[2] x) => (float[2] y) { a = Add (x, x)  y = Elu <alpha = 0.5> (a) }",
    ],
)
def test_canonical_text_tells_structures_apart(onnx_text: OnnxText, other: str) -> None:
    text = "g (float[2] x) => (float[2] y) <float w = {1.0}> { a = Add (x, w)  y = Elu <alpha = 0.5> (a) }"
    assert outline(onnx_text(text), canonical=True) != outline(onnx_text(other), canonical=True)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [("FLOAT", "float32"), ("FLOAT16", "float16"), ("BFLOAT16", "bfloat16"), ("DOUBLE", "float64"),
     ("FLOAT8E4M3FN", "float8e4m3fn"), ("INT4", "int4"), ("UINT8", "uint8"), ("COMPLEX64", "complex64")],
)  # fmt: skip
def test_types_are_named_as_in_numpy(dtype: str, text: str) -> None:
    value = ir.Value(name="v", type=ir.TensorType(ir.DataType[dtype]), shape=ir.Shape([1, "N", None]))
    assert type_text(value) == f"{text}[1,N,?]"
