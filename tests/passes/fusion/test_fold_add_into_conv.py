"""Add and Sub of a constant per channel disappear into the bias; the weight stays."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

X, Y = "float[1,3,5,5] x", "float[1,4,5,5] y"


@pytest.mark.parametrize(
    ("adding", "shape"),
    [
        ("Add (c, t)", "float t"),
        ("Add (t, c)", "float[4,1,1] t"),
        ("Sub (c, t)", "float[1,4,1,1] t"),
    ],
)
@pytest.mark.parametrize("bias", ["", ", b"])
def test_folds_and_keeps_the_weight(rewrite: Rewrite, adding: str, shape: str, bias: str) -> None:
    weights = f"float[4,3,1,1] W{', float[4] b' if bias else ''}"
    model = rewrite(
        "fold-add-into-conv",
        before=f"g ({X}) => ({Y}) <{weights}, {shape}> {{ c = Conv (x, W{bias})   y = {adding} }}",
        after=f"g ({X}) => ({Y}) <float[4,3,1,1] W, float[4] b> {{ y = Conv (x, W, b) }}",
    ).model
    assert "W" in model.graph.initializers


def test_gemm_and_conv_transpose(rewrite: Rewrite) -> None:
    rewrite(
        "fold-add-into-conv",
        before="""g (float[3,5] x, float[1,2,3] v) => (float[3,4] y, float[1,4,3] z) <
                float[5,4] W, float[4] b, float[1,4] t, float[2,4,1] U, float[4,1] u> {
            c = Gemm <alpha = 0.5, beta = 2.0> (x, W, b)   y = Add (c, t)
            d = ConvTranspose (v, U)   z = Add (d, u) }""",
        after="""g (float[3,5] x, float[1,2,3] v) => (float[3,4] y, float[1,4,3] z) <
                float[5,4] W, float[4] b, float[2,4,1] U, float[4] u> {
            y = Gemm <alpha = 0.5> (x, W, b)   z = ConvTranspose (v, U, u) }""",
    )


def test_left_alone(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fold-add-into-conv",
        after=None,
        before=f"""
        g ({X}) => ({Y}, float[1,4,5,5] z, float[1,4,5,5] w) <float[4,3,1,1] W, float[5,1] t, float u> {{
            c = Conv (x, W)   y = Add (c, t)   d = Conv (x, W)   z = Sub (u, d)
            e = Conv (x, W)   f = Add (e, u)   g = Relu (e)   w = Add (f, g) }}""",
    )
    assert ["other axes" in outcome.skips[0].reason, "reads" in outcome.skips[1].reason] == [True, True]
    assert len(outcome.skips) == 2, "a constant minus a Conv and a sum of two values are no misses"
