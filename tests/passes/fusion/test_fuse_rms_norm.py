"""fuse-rms-norm: division, reciprocal and power, with and without a gain."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

HEAD = "p = Pow (x, two) v = ReduceMean (p, last) e = Add (v, eps) "
SPELLINGS = {
    "llama": HEAD + "s = Sqrt (e) r = Reciprocal (s) n = Mul (x, r) y = Mul (scale, n)",
    "divided": HEAD + "s = Sqrt (e) n = Div (x, s) y = Mul (n, scale)",
    "one over": HEAD + "s = Sqrt (e) r = Div (one, s) n = Mul (r, x) y = Mul (n, scale)",
    "product": HEAD.replace("Pow (x, two)", "Mul (x, x)") + "s = Sqrt (e) n = Div (x, s) y = Mul (n, scale)",
    "power": HEAD + "s = Pow (e, minus_half) n = Mul (x, s) y = Mul (n, scale)",
    "gain first": HEAD + "s = Sqrt (e) g = Mul (x, scale) y = Div (g, s)",
}


def graph(body: str) -> str:
    weights = """<float[5] scale, float eps = {1e-6}, float two = {2.0}, float minus_half = {-0.5},
        float one = {1.0}, int64[1] last = {-1}, int64[1] first = {0}, float[5] ones = {1, 1, 1, 1, 1}>"""
    return f"g (float[3,4,5] x) => (float[3,4,5] y) {weights} {{ {body} }}"


@pytest.mark.parametrize("body", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings(rewrite: Rewrite, body: str) -> None:
    after = graph("y = RMSNormalization <axis = -1, epsilon = 1e-6> (x, scale)")
    model = rewrite("fuse-rms-norm", before=graph(body), after=after).model
    assert model.opset_imports[""] == 23


@pytest.mark.parametrize(
    ("tail", "after"),
    [
        ("s = Sqrt (e) y = Div (x, s)", "y = RMSNormalization <axis = -1, epsilon = 1e-6> (x, ones)"),
        (
            "s = Sqrt (e) n = Div (x, s) y = Add (n, scale)",
            "n = RMSNormalization <axis = -1, epsilon = 1e-6> (x, ones) y = Add (n, scale)",
        ),
    ],
)
def test_without_a_gain_it_is_one(rewrite: Rewrite, tail: str, after: str) -> None:
    rewrite("fuse-rms-norm", before=graph(HEAD + tail), after=graph(after))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (SPELLINGS["divided"].replace("last", "first"), "not of float32 values over the last axes"),
        (
            SPELLINGS["divided"].replace("y = Mul (n, scale)", "g = Mul (n, scale) y = Add (g, s)"),
            "read outside",
        ),
        (HEAD.replace("Pow (x, two)", "Mul (scale, scale)") + "s = Sqrt (e) y = Div (x, s)", None),
    ],
)
def test_what_stays(rewrite: Rewrite, body: str, reason: str | None) -> None:
    skips = rewrite("fuse-rms-norm", before=graph(body), after=None).skips
    assert len(skips) == (reason is not None)
    assert all(reason is not None and reason in skip.reason for skip in skips)


def test_of_a_difference_both_passes_can_take_it(rewrite: Rewrite) -> None:
    """What is centred first is a layer normalization to one pass, and x − mean(x) is the x of the other."""
    centred = "m = ReduceMean (x, last) d = Sub (x, m) "
    before = graph(centred + SPELLINGS["divided"].replace("(x, two)", "(d, two)").replace("Div (x", "Div (d"))
    layer = graph("y = LayerNormalization <axis = -1, epsilon = 1e-6> (x, scale)")
    rms = graph(centred + "y = RMSNormalization <axis = -1, epsilon = 1e-6> (d, scale)")
    rewrite("fuse-layer-norm, fuse-rms-norm", before=before, after=layer)
    rewrite("fuse-rms-norm", before=before, after=rms, types=True)
