"""fuse-reduce-mean: division and multiplication, and numbers that are no length."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


def graph(body: str, results: str = "float[N,1,1] y") -> str:
    return f"""g (float[N,4,6] x) => ({results}) <int64[2] axes = {{1, 2}}, float n = {{24.0}},
        float inverse = {{0.0416666679}}, float near = {{0.0417}}, int64[1] first = {{0}}> {{ {body} }}"""


MEAN = "y = ReduceMean (x, axes)"


@pytest.mark.parametrize("op", ["Div (s, n)", "Mul (s, inverse)", "Mul (inverse, s)"])
def test_a_sum_over_its_length_is_a_mean(rewrite: Rewrite, op: str) -> None:
    rewrite("fuse-reduce-mean", before=graph(f"s = ReduceSum (x, axes) y = {op}"), after=graph(MEAN))


def test_axes_are_an_attribute_before_opset_18(rewrite: Rewrite) -> None:
    after = "y = ReduceMean <keepdims = 0, axes = [1,2]> (x)"
    before = "s = ReduceSum <keepdims = 0> (x, axes) y = Div (s, n)"
    rewrite(
        "fuse-reduce-mean", before=graph(before, "float[N] y"), after=graph(after, "float[N] y"), opset=13
    )


@pytest.mark.parametrize(
    ("body", "results"),
    [
        ("s = ReduceSum (x, axes) y = Mul (s, near)", "float[N,1,1] y"),
        ("s = ReduceSum (x, axes) y = Div (n, s)", "float[N,1,1] y"),
        ("s = ReduceSum (x, axes) y = Div (s, n) z = Exp (s)", "float[N,1,1] y, float[N,1,1] z"),
        ("s = ReduceSum (x, first) y = Div (s, n)", "float[1,4,6] y"),
    ],
    ids=["another number", "a quotient the other way", "the sum is read elsewhere", "an open axis"],
)
def test_what_stays(rewrite: Rewrite, body: str, results: str) -> None:
    rewrite("fuse-reduce-mean", before=graph(body, results), after=None)
