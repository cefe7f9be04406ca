"""Mul and Div of channels by a constant disappear into weights."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

X, Y = "float[1,3,5,5] x", "float[1,4,5,5] y"


@pytest.mark.parametrize(
    ("scaling", "shape"),
    [
        ("Mul (c, s)", "float s"),
        ("Mul (s, c)", "float[4,1,1] s"),
        ("Mul (c, s)", "float[1,4,1,1] s"),
        ("Div (c, s)", "float[1,1,1] s = {4.0}"),
    ],
)
@pytest.mark.parametrize(
    ("op", "weights"),
    [
        ("Conv (x, W)", "float[4,3,1,1] W"),
        ("Conv (x, W, b)", "float[4,3,1,1] W, float[4] b"),
        ("ConvTranspose <pads = [1, 1, 1, 1]> (x, W, b)", "float[3,4,3,3] W, float[4] b"),
    ],
)
def test_folds(rewrite: Rewrite, scaling: str, shape: str, op: str, weights: str) -> None:
    rewrite(
        "fold-mul-into-conv",
        before=f"g ({X}) => ({Y}) <{weights}, {shape}> {{ c = {op}   y = {scaling} }}",
        after=f"g ({X}) => ({Y}) <{weights}> {{ y = {op} }}",
    )


def test_gemm_scales_columns(rewrite: Rewrite) -> None:
    rewrite(
        "fold-mul-into-conv",
        before="""g (float[3,5] x) => (float[3,4] y) <float[4,5] W, float[4] b, float[4] s> {
            c = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, W, b)   y = Mul (c, s) }""",
        after="""g (float[3,5] x) => (float[3,4] y) <float[4,5] W, float[4] b> {
            y = Gemm <transB = 1, alpha = 0.5> (x, W, b) }""",
    )


@pytest.mark.parametrize(
    ("scaling", "shape", "reason"),
    [
        ("Mul (c, s)", "float[5] s", "other axes"),
        ("Mul (c, s)", "float[1,1,1,1,1] s", "other axes"),
        ("Div (c, s)", "float s = {0.0}", "not finite"),
    ],
)
def test_left_alone(rewrite: Rewrite, scaling: str, shape: str, reason: str) -> None:
    outcome = rewrite(
        "fold-mul-into-conv",
        rtol=None,
        after=None,
        before=f"""
        g ({X}) => (float y) <float[4,3,1,1] W, {shape}> {{
            c = Conv (x, W)   d = {scaling}   y = ReduceMean <keepdims = 0> (d) }}""",
    )
    assert reason in outcome.skips[0].reason


def test_a_chain_of_scales_and_shifts_folds_wholly(rewrite: Rewrite) -> None:
    rewrite(
        "repeat(fold-mul-into-conv, fold-add-into-conv, fold-bn-into-conv)",
        before=f"""g ({X}) => ({Y}) <float[4,3,1,1] W, float[4,1,1] s, float[4,1,1] t, float r,
                float[4] gamma, float[4] beta, float[4] mean, float[4] var> {{
            a = Conv (x, W)   b = Add (a, t)   c = Mul (b, s)   d = Sub (c, t)   e = Div (d, r)
            y = BatchNormalization (e, gamma, beta, mean, var) }}""",
        after=f"g ({X}) => ({Y}) <float[4,3,1,1] W, float[4] b> {{ y = Conv (x, W, b) }}",
    )


def test_a_constant_divided_by_a_conv_and_a_product_of_convs_are_something_else(rewrite: Rewrite) -> None:
    rewrite(
        "fold-mul-into-conv",
        rtol=None,
        after=None,
        before=f"""
        g ({X}) => ({Y}, float[1,4,5,5] z) <float[4,3,1,1] W, float[4,3,1,1] V, float s> {{
            c = Conv (x, W)   y = Div (s, c)   a = Conv (x, V)   b = Conv (x, W)   z = Mul (a, b) }}""",
    )


def test_inside_bodies(rewrite: Rewrite) -> None:
    rest = "else_branch = e () => (float[1,1,2,2] q) { q = Abs (x) }"
    rewrite(
        "fold-mul-into-conv",
        before=f"""g (bool b, float[1,1,2,2] x) => (float[1,1,2,2] y) <float[1,1,1,1] W, float s> {{
            y = If (b) <then_branch = t () => (float[1,1,2,2] p) {{
                c = Conv (x, W)  p = Mul (c, s) }}, {rest}>
        }}""",
        after=f"""g (bool b, float[1,1,2,2] x) => (float[1,1,2,2] y) {{
            y = If (b) <then_branch = t () => (float[1,1,2,2] p) <float[1,1,1,1] V = {{0.0}}> {{
                p = Conv (x, V) }}, {rest}> }}""",
    )
