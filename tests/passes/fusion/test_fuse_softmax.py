"""fuse-softmax: the spellings of JAX and of hand-written graphs, and their logarithm."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

MAX = "m = ReduceMax (x, last) d = Sub (x, m) "
SUM = "e = Exp (d) t = ReduceSum (e, last) "
SPELLINGS = {
    "plain": (MAX + SUM + "y = Div (e, t)", "Softmax"),
    "no maximum": (SUM.replace("(d)", "(x)") + "y = Div (e, t)", "Softmax"),
    "reciprocal": (MAX + SUM + "r = Reciprocal (t) y = Mul (r, e)", "Softmax"),
    "jax": (
        "n = ReduceMax (x, last) m = Max (low, n) d = Sub (x, m) " + SUM + "y = Div (e, t)",
        "Softmax",
    ),
    "logarithm": (MAX + SUM + "l = Log (t) y = Sub (d, l)", "LogSoftmax"),
}


def graph(body: str, results: str = "float[2,3,5] y") -> str:
    return f"""g (float[2,3,5] x) => ({results}) <int64[1] last = {{-1}}, int64[1] middle = {{1}},
        int64[2] both = {{1, 2}}, float low = {{-inf}}, float two = {{2.0}}> {{ {body} }}"""


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(rewrite: Rewrite, name: str) -> None:
    body, op = SPELLINGS[name]
    rewrite("fuse-softmax", before=graph(body), after=graph(f"y = {op} <axis = 2> (x)"), types=True)


def test_another_axis(rewrite: Rewrite) -> None:
    body = SPELLINGS["plain"][0].replace("last", "middle")
    rewrite("fuse-softmax", before=graph(body), after=graph("y = Softmax <axis = 1> (x)"), types=True)


def test_a_maximum_over_another_axis_only_moves_x(rewrite: Rewrite) -> None:
    body = SPELLINGS["plain"][0].replace("ReduceMax (x, last)", "ReduceMax (x, middle)")
    after = "m = ReduceMax (x, middle) d = Sub (x, m) y = Softmax <axis = 2> (d)"
    rewrite("fuse-softmax", before=graph(body), after=graph(after), types=True)


@pytest.mark.parametrize(
    ("body", "results", "reason"),
    [
        (MAX + SUM.replace("last", "both") + "y = Div (e, t)", "float[2,3,5] y", "one known axis"),
        (SPELLINGS["plain"][0] + " z = Exp (t)", "float[2,3,5] y, float[2,3,1] z", "read outside"),
        (MAX + SUM + "f = Mul (e, two) y = Div (f, t)", "float[2,3,5] y", None),
        (MAX + SUM + "l = Log (t) y = Sub (x, l)", "float[2,3,5] y", None),
    ],
)
def test_what_stays(rewrite: Rewrite, body: str, results: str, reason: str | None) -> None:
    skips = rewrite("fuse-softmax", before=graph(body, results), after=None, types=True).skips
    assert [reason in skip.reason for skip in skips if reason] == [True] * (reason is not None)
