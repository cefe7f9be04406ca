"""Box decoding in front of an output: 16 bits for what computes it, and for nothing else."""

from collections.abc import Callable
from dataclasses import replace

import onnx_ir as ir
import pytest

from onnxq.errors import TargetError, UsageError
from onnxq.passes.importing.infer_shapes import InferShapes
from onnxq.passes.quantization.insert_qdq import InsertQdq
from onnxq.pipeline.context import Context
from onnxq.quant.plan import Role
from onnxq.targets.target import load_target, parse_target

Text = Callable[..., ir.Model]

INTEGER = load_target("integer")

SSD = """g (float[1,2,4,4] x) => (float[1,32,4] boxes, float[1,32,2] scores)
    <float[4,2,1,1] W, float[4,2,1,1] V, float[4,2,1,1] U, float ten = {0.1}, float two = {2.0},
     float[1,32,2] anchor, float[1,32,2] size, int64[3] four = {1, 32, 4}, int64[3] pair = {1, 32, 2},
     int64[1] s0 = {0}, int64[1] s2 = {2}, int64[1] s4 = {4}, int64[1] last = {2}> {
    p = Conv (x, W)
    q = Conv (x, V)
    l = Concat <axis = 1> (p, q)
    m = Reshape (l, four)
    c = Slice (m, s0, s2, last)
    s = Slice (m, s2, s4, last)
    c1 = Mul (c, ten)
    c2 = Mul (c1, size)
    center = Add (c2, anchor)
    s1 = Exp (s)
    extent = Mul (s1, size)
    half = Div (extent, two)
    low = Sub (center, half)
    high = Add (center, half)
    boxes = Concat <axis = 2> (low, high)
    k = Conv (x, U)
    n = Concat <axis = 1> (k)
    o = Reshape (n, pair)
    scores = Softmax <axis = -1> (o)
}"""

YOLO = """g (float[1,2,4,4] x) => (float[1,6,16] y)
    <float[2,2,1,1] W, float[2,2,1,1] V, float[2,2,1,1] U, float[1,2,16] grid, float[1,16] stride,
     int64[3] rows = {1, 2, 16}> {
    a = Conv (x, W) a1 = Reshape (a, rows)
    b = Conv (x, V) b1 = Reshape (b, rows)
    k = Conv (x, U) k1 = Reshape (k, rows) score = Sigmoid (k1)
    low = Sub (grid, a1)
    high = Add (b1, grid)
    both = Concat <axis = 1> (low, high)
    box = Mul (both, stride)
    y = Concat <axis = 1> (box, score)
}"""


def _wide(model: ir.Model, **options: object) -> dict[str, str]:
    """The dtypes of all values of 16 bits, the reason of each given."""
    prepared = InferShapes().run(model, Context(target=INTEGER)).model
    plan = InsertQdq(**options).plan(prepared, Context(target=INTEGER))  # type: ignore[arg-type]
    wide = [d for d in plan.values if d.format.bits == 16]
    assert all(d.why == "decodes outputs of the model" for d in wide)
    assert all(d.role is not Role.WEIGHT for d in wide)
    assert all(d.why == "" for d in plan.values if d not in wide)
    return {d.value: str(d.format) for d in wide}


def test_boxes_with_anchors_are_wide_and_scores_are_not(onnx_text: Text) -> None:
    wanted = "p q l m c s c1 c2 center s1 extent half low high boxes ten two anchor size"
    assert " ".join(sorted(_wide(onnx_text(SSD)))) == " ".join(sorted(wanted.split()))
    assert set(_wide(onnx_text(SSD)).values()) == {"uint16"}


def test_scores_in_the_tensor_of_the_boxes_are_wide_where_they_join_it(onnx_text: Text) -> None:
    """Codes of 8 bits that reach from 0 to the width of a picture hold no probability at all."""
    assert " ".join(sorted(_wide(onnx_text(YOLO)))) == "a a1 b b1 both box grid high low score stride y"


def test_the_sign_is_that_of_the_other_activations(onnx_text: Text) -> None:
    assert set(_wide(onnx_text(YOLO), activation="int8").values()) == {"int16"}


def test_the_option_and_a_recipe_turn_it_off(onnx_text: Text) -> None:
    assert _wide(onnx_text(YOLO), wide_tail=False) == {}
    narrow = "[[rule]]\nvalue = 'y'\ndtype = 'uint8'"
    assert set(_wide(onnx_text(YOLO), recipe=narrow)).isdisjoint({"y", "box", "score"})


@pytest.mark.parametrize(
    "graph",
    [
        "(float[2,4] x) => (float[2,8] y) {{ a = MatMul (x, W) y = Concat <axis = 1> (a, a) }}",
        "(float[2,4] x) => (float[2,4] y) {{ a = MatMul (x, W) s = Mul (a, two) y = Softmax (s) }}",
        "(float[2,4] x) => (float[2,8] y) {{ a = MatMul (x, W) s = Mul (a, two)"
        " j = Concat <axis = 1> (s, a) y = Softmax (j) }}",
        "(float[2,4] x) => (float[2,8] y) {{ a = MatMul (x, W) b = Add (a, bias)"
        " s = Sigmoid (b) y = Concat <axis = 1> (b, s) }}",
        "(float[2,4] x) => (float[2,4] y) {{ a = MatMul (x, W) s = Mul (a, x) y = Mul (s, bias) }}",
        "(float[2,4] x) => (float[2,4] y) {{ c = Concat <axis = 1> (x, x)"
        " s = Mul (c, wide) y = MatMul (s, V) }}",
        "(float[2,4] x) => (float[2,8] y) {{ c = Concat <axis = 1> (x, x) y = Mul (c, wide) }}",
    ],
    ids=["raw", "classifier", "one number", "bias", "no concat", "inner", "no linear operator"],
)
def test_what_is_no_decoding_keeps_8_bits(graph: str, onnx_text: Text) -> None:
    names = "<float[4,4] W, float[8,4] V, float two = {{2.0}}, float[4] bias, float[8] wide>"
    head, body = graph.split(" {{", 1)
    assert _wide(onnx_text(f"g {head} {names} {{{{{body}".replace("{{", "{").replace("}}", "}"))) == {}


def test_what_something_else_reads_too_keeps_8_bits_with_all_that_shares_its_scale(onnx_text: Text) -> None:
    shared = YOLO.replace("(float[1,6,16] y)", "(float[1,6,16] y, float[1,2,4,4] z)")
    shared = shared.replace("y = Concat", "z = Conv (a, W)\n    y = Concat")
    assert set(_wide(onnx_text(YOLO))) - set(_wide(onnx_text(shared))) == {"a", "a1"}


def test_a_target_needs_a_format_of_16_bits(onnx_text: Text) -> None:
    narrow = replace(INTEGER, also=frozenset())
    with pytest.raises(UsageError, match="takes no activations of 16 bits"):
        InsertQdq(wide_tail=True).plan(onnx_text(YOLO), Context(target=narrow))
    with pytest.raises(TargetError, match="wide_tail gives 16 bits"):
        parse_target('extends = "xint8"\nname = "n"\nsummary = "s"\n[layout]\nwide_tail = true', "n.toml")
