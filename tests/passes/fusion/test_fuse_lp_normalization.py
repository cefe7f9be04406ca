"""fuse-lp-normalization: PyTorch's, TensorFlow's and sentence-transformers' way to length 1."""

from collections.abc import Callable

import numpy as np
import pytest

from onnxq.pipeline.base import Outcome
from onnxq.runtime import Session

Rewrite = Callable[..., Outcome]

L2 = "n = ReduceL2 (x, last) "
SQUARES = "p = Mul (x, x) s = ReduceSum (p, last) "
SPELLINGS = {
    "plain": L2 + "y = Div (x, n)",
    "pytorch": L2 + "c = Clip (n, tiny) y = Div (x, c)",
    "max": L2 + "c = Max (tiny, n) y = Div (x, c)",
    "added": L2 + "c = Add (n, tiny) y = Div (x, c)",
    "root": SQUARES + "n = Sqrt (s) y = Div (x, n)",
    "tensorflow": SQUARES + "c = Max (s, least) r = Sqrt (c) i = Reciprocal (r) y = Mul (x, i)",
    "power": SQUARES.replace("Mul (x, x)", "Pow (x, two)") + "i = Pow (s, minus_half) y = Mul (i, x)",
    "sum of squares": "s = ReduceSumSquare (x, last) n = Sqrt (s) y = Div (x, n)",
}


def graph(body: str, results: str = "float[3,5] y") -> str:
    return f"""g (float[3,5] x) => ({results}) <int64[1] last = {{-1}}, int64[2] both = {{0, 1}},
        float[5] scale, float tiny = {{1e-12}}, float least = {{1e-12}}, float half = {{0.5}},
        float two = {{2.0}}, float minus_half = {{-0.5}}> {{ {body} }}"""


FUSED = "y = LpNormalization <axis = -1, p = 2> (x)"


@pytest.mark.parametrize("body", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings(rewrite: Rewrite, body: str) -> None:
    rewrite("fuse-lp-normalization", before=graph(body), after=graph(FUSED))


@pytest.mark.parametrize(
    ("body", "results", "reason"),
    [
        (L2.replace("last", "both") + "y = Div (x, n)", "float[3,5] y", "over one axis"),
        (L2 + "y = Div (x, n) z = Exp (n)", "float[3,5] y, float[3,1] z", "read outside"),
        (L2 + "c = Clip (n, half) y = Div (x, c)", "float[3,5] y", None),
        (L2 + "y = Mul (x, n)", "float[3,5] y", None),
        (SQUARES + "y = Div (x, s)", "float[3,5] y", None),
        (
            SQUARES.replace("Mul (x, x)", "Mul (x, scale)") + "n = Abs (s) y = Div (x, n)",
            "float[3,5] y",
            None,
        ),
        (L2 + "y = Div (scale, n)", "float[3,5] y", None),
    ],
)
def test_what_stays(rewrite: Rewrite, body: str, results: str, reason: str | None) -> None:
    skips = rewrite("fuse-lp-normalization", before=graph(body, results), after=None).skips
    assert [reason in skip.reason for skip in skips if reason] == [True] * (reason is not None)


def test_a_row_of_zeros_gives_zeros(rewrite: Rewrite) -> None:
    body = SPELLINGS["pytorch"]
    model = rewrite("fuse-lp-normalization", before=graph(body), after=graph(FUSED)).model
    assert not Session(model).run({"x": np.zeros((3, 5), np.float32)})["y"].any()
