"""fuse-silu: SiLU, the quick Gelu, and what only looks like one."""

from collections.abc import Callable

import numpy as np
import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

X = np.linspace(-6, 6, 8, dtype=np.float32).reshape(2, 4)


def graph(body: str) -> str:
    numbers = "<float quick = {1.702}, float two = {2.0}>"
    return f"g (float[2,4] x, float[2,4] z) => (float[2,4] y) {numbers} {{ {body} }}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("s = Sigmoid (x) y = Mul (x, s)", "y = Swish (x)"),
        ("s = Sigmoid (x) y = Mul (s, x)", "y = Swish (x)"),
        ("a = Mul (quick, x) s = Sigmoid (a) y = Mul (x, s)", "y = Swish <alpha = 1.702> (x)"),
        ("a = Div (x, two) s = Sigmoid (a) y = Mul (s, x)", "y = Swish <alpha = 0.5> (x)"),
        ("a = Mul (two, x) s = Sigmoid (a) y = Mul (s, a)", "a = Mul (two, x) y = Swish (a)"),
    ],
)
def test_spellings(rewrite: Rewrite, before: str, after: str) -> None:
    model = rewrite("fuse-silu", before=graph(before), after=graph(after), feeds={"x": X}, types=True).model
    assert (model.opset_imports[""], model.ir_version) == (24, 12)


@pytest.mark.parametrize(
    "body",
    [
        "s = Sigmoid (x) y = Mul (z, s)",
        "a = Mul (x, z) s = Sigmoid (a) y = Mul (x, s)",
    ],
)
def test_what_is_no_swish(rewrite: Rewrite, body: str) -> None:
    assert not rewrite("fuse-silu", before=graph(body), after=None).skips


def test_a_sigmoid_read_elsewhere_stays_and_says_so(rewrite: Rewrite) -> None:
    outcome = rewrite("fuse-silu", before=graph("s = Sigmoid (x) m = Mul (x, s) y = Add (m, s)"), after=None)
    assert "also read outside" in outcome.skips[0].reason


def test_an_unknown_dtype_is_a_skip(rewrite: Rewrite) -> None:
    before = graph("a = Mul (two, x) s = Sigmoid (a) y = Mul (s, a)")
    skips = rewrite("fuse-silu", before=before, after=None, types=False).skips
    assert skips[0].reason == "is part of a Swish, but 'a' is not known to be float32"


def test_an_opset_that_cannot_be_raised_is_a_skip(rewrite: Rewrite) -> None:
    before = """g (float[2,4] x, float[1,1,3,3] v, float[1,2,2,2] where) => (float[2,4] y, float[1,1,2,2] w) {
        s = Sigmoid (x) y = Mul (x, s)
        w = GridSample <mode = "bilinear"> (v, where)
    }"""
    outcome = rewrite("fuse-silu", before=before, after=None, opset=19)
    assert "needs opset 24, but the model must stay at 19: GridSample" in outcome.skips[0].reason
