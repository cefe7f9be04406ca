"""keep-reduced-axes: from keepdims=0 and Reshape to keepdims=1."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

CONSTANTS = """<int64[1] one = {1}, int64[3] back = {-1, 1, 6}, int64[3] other = {-1, 6, 1},
    float tenth = {0.1}, float[6] row, int64[2] last = {1, 2}, int64[3] ends = {0, 1, 1}>"""


def graph(body: str, results: str = "float[N,4,6] y") -> str:
    return f"g (float[N,4,6] x) => ({results}) {CONSTANTS} {{ {body} }}"


SHORT = "m = ReduceMean <keepdims = 0> (x, one) "
LONG = "m = ReduceMean <keepdims = 1> (x, one) "


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (SHORT + "r = Reshape (m, back) y = Sub (x, r)", LONG + "y = Sub (x, m)"),
        (SHORT + "r = Unsqueeze (m, one) y = Sub (x, r)", LONG + "y = Sub (x, m)"),
        (
            SHORT + "q = ReduceMax <keepdims = 0> (x, one) p = Mul (m, q) v = Sub (p, tenth) "
            "r = Reshape (v, back) s = Reshape (m, back) a = Sub (x, s) y = Add (a, r)",
            LONG + "q = ReduceMax <keepdims = 1> (x, one) p = Mul (m, q) v = Sub (p, tenth) "
            "a = Sub (x, m) y = Add (a, v)",
        ),
        (
            "m = ReduceSum <keepdims = 0> (x, last) r = Reshape (m, ends) y = Sub (x, r)",
            "m = ReduceSum <keepdims = 1> (x, last) y = Sub (x, m)",
        ),
    ],
    ids=["reshape", "unsqueeze", "elementwise between", "two axes"],
)
def test_axes_that_are_put_back_stay(rewrite: Rewrite, body: str, after: str) -> None:
    rewrite("keep-reduced-axes", before=graph(body), after=graph(after), types=True)


@pytest.mark.parametrize(
    ("body", "results"),
    [
        (SHORT + "r = Reshape (m, back) z = Exp (m) y = Sub (x, r)", "float[N,4,6] y, float[N,6] z"),
        (SHORT + "a = Add (m, row) r = Reshape (a, back) y = Sub (x, r)", "float[N,4,6] y"),
        (SHORT + "y = Reshape (m, other)", "float[N,6,1] y"),
        (SHORT + "y = Reshape (m, back)", "float[N,1,6] y"),
        (SHORT + "s = Softmax (m) r = Reshape (s, back) y = Sub (x, r)", "float[N,4,6] y"),
    ],
    ids=[
        "the short form is an output",
        "a row is added",
        "another axis",
        "an output",
        "no elementwise operator",
    ],
)
def test_left_alone(rewrite: Rewrite, body: str, results: str) -> None:
    rewrite("keep-reduced-axes", before=graph(body, results), after=None, types=True)
