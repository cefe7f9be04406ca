"""Lengths: open axes that a graph makes equally long, against ONNX Runtime on two batch sizes."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.length_algebra import Length
from onnxq.graph.lengths import Lengths
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

HEAD = "g (float[N,2,6] x, float[M,6] z) => (float[A,B,C] y)"
DECLARED = """<int64[3] back = {-1, 2, 6}, int64[3] merged = {0, -1, 3}, int64[1] one = {1},
    int64[1] zero = {0}, int64[2] flat = {-1, 12}, int64[3] lone = {1, 1, 6}, int64[1] big = {9},
    int64[1] two = {2},
   float[6,4] W, float[3,2,3] K, int64[2] rows = {1, 0}>"""
BODIES = {
    "elementwise": ("y = Exp (x)", "N,2,6"),
    "number of axes only": ("y = Slice (x, one, big, two)", "?,?,?"),
    "reshape solves for one": ("f = Reshape (x, flat) y = Reshape (f, back)", "N,2,6"),
    "reshape keeps": ("y = Reshape (x, merged)", "N,4,3"),
    "broadcast of a number": ("e = Expand (z, lone) y = Add (x, e)", "?,?,6"),
    "matmul": ("y = MatMul (x, W)", "N,2,4"),
    "transpose": ("y = Transpose <perm = [1,2,0]> (x)", "2,6,N"),
    "axes removed and put back": ("s = ReduceSum <keepdims = 0> (x, one) y = Unsqueeze (s, one)", "N,1,6"),
    "reduced axes stay": ("y = ReduceMax (x, two)", "N,2,1"),
    "gather": ("y = Gather <axis = 1> (x, rows)", "N,2,6"),
    "convolution": ("y = Conv (x, K)", "N,?,?"),
    "concat": ("y = Concat <axis = 1> (x, x)", "N,?,6"),
    "expand to a shape of the graph": (
        """s = Shape (x) n = Gather (s, zero) c = Cast <to = 6> (n) d = Cast <to = 7> (c)
           t = Concat <axis = 0> (d, one, one) m = ReduceMean (x, one) w = Gather <axis = 2> (m, zero)
           y = Expand (w, t)""",
        "N,1,1",
    ),
    "slice of a shape": (
        """s = Shape <start = 0, end = 2> (x) n = Slice (s, zero, one) t = Concat <axis = 0> (n, two, one)
           o = ConstantOfShape (t) q = Gather <axis = 2> (x, zero) y = Expand (q, t)""",
        "N,2,1",
    ),
}


@pytest.fixture(params=BODIES)
def case(request: pytest.FixtureRequest, onnx_text: Text) -> tuple[ir.Model, str]:
    """A model whose shapes only the rules can tell, and the lengths of its result."""
    body, expected = BODIES[request.param]
    model = onnx_text(f"{HEAD} {DECLARED} {{ {body} }}")
    model.graph.outputs[0].shape = ir.Shape([None, None, None])
    return model, expected


def test_lengths_of_the_result(case: tuple[ir.Model, str]) -> None:
    model, expected = case
    found = Lengths(model).of(model.graph.outputs[0])
    assert found is not None
    for length, text in zip(found, expected.split(","), strict=True):
        named = Length(Fraction(1), (text,)) if text.isalpha() else None
        assert text == "?" or length == (named or Length(Fraction(text)))


def test_they_hold_in_every_run(case: tuple[ir.Model, str]) -> None:
    model, _ = case
    made = {value.name or "": value for node in model.graph for value in node.outputs}
    lengths, session = Lengths(model), Session(model, optimize=False, extra_outputs=list(made))
    for batch in (1, 5):
        feeds = {"x": np.ones((batch, 2, 6), np.float32), "z": np.ones((1, 6), np.float32)}
        for name, array in session.run(feeds, list(made)).items():
            for length, actual in zip(lengths.of(made[name]) or (), array.shape, strict=False):
                if set(length.axes) <= {"N"}:
                    assert length.factor * batch ** len(length.axes) == actual, name


def test_open_axes_without_names_differ(onnx_text: Text) -> None:
    model = onnx_text("g (float[?,4] a, float[?,4] b) => (float[?,4] y) { y = Add (a, b) }")
    lengths = Lengths(model)
    a, b = (lengths.of(value) for value in model.graph.inputs)
    assert a is not None
    assert b is not None
    assert a[0] != b[0]
    assert lengths.of(model.graph.outputs[0]) not in (a, b)
