"""BatchNormalization behind a Gemm or MatMul disappears into its weights."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

BN = "float[4] gamma, float[4] beta, float[4] mean, float[4] var"


@pytest.mark.parametrize(
    ("shapes", "bias", "attributes", "kept"),
    [
        ("float[5,4] W", "", "", ""),
        ("float[5,4] W, float[4] b", ", b", "<beta = 0.5>", ""),
        ("float[5,4] W, float b", ", b", "<alpha = 2.0, beta = 3.0>", "<alpha = 2.0>"),
        ("float[4,5] W, float[1,4] b", ", b", "<transB = 1, alpha = -2.0>", "<transB = 1, alpha = -2.0>"),
        ("float[4,5] W, float[1,1] b", ", b", "<transB = 1>", "<transB = 1>"),
    ],
)
def test_gemm_with_its_attributes(
    rewrite: Rewrite, shapes: str, bias: str, attributes: str, kept: str
) -> None:
    weight = shapes.split(", ")[0]
    rewrite(
        "fold-bn-into-gemm",
        before=f"""g (float[3,5] x) => (float[3,4] y) <{shapes}, {BN}> {{
            c = Gemm {attributes} (x, W{bias})   y = BatchNormalization (c, gamma, beta, mean, var) }}""",
        after=f"""g (float[3,5] x) => (float[3,4] y) <{weight}, float[4] b> {{
            y = Gemm {kept} (x, W, b) }}""",
    )


def test_a_transposed_left_side(rewrite: Rewrite) -> None:
    rewrite(
        "fold-bn-into-gemm",
        before=f"""g (float[5,3] x) => (float[3,4] y) <float[5,4] W, {BN}> {{
            c = Gemm <transA = 1> (x, W)   y = BatchNormalization (c, gamma, beta, mean, var) }}""",
        after="""g (float[5,3] x) => (float[3,4] y) <float[5,4] W, float[4] b> {
            y = Gemm <transA = 1> (x, W, b) }""",
    )


def test_a_matmul_of_matrices_becomes_a_gemm(rewrite: Rewrite) -> None:
    rewrite(
        "fold-bn-into-gemm",
        before=f"""g (float[N,5] x) => (float[N,4] y) <float[5,4] W, {BN}> {{
            c = MatMul (x, W)   y = BatchNormalization (c, gamma, beta, mean, var) }}""",
        after="g (float[N,5] x) => (float[N,4] y) <float[5,4] W, float[4] b> { y = Gemm (x, W, b) }",
    )


def test_left_alone_where_channels_are_not_columns(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fold-bn-into-gemm",
        after=None,
        before=f"""
        g (float[2,4,5] x) => (float[2,4,4] y) <float[5,4] W, {BN}> {{
            c = MatMul (x, W)   y = BatchNormalization (c, gamma, beta, mean, var) }}""",
    )
    assert "matrix" in outcome.skips[0].reason


def test_left_alone_when_the_bias_differs_from_row_to_row(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fold-bn-into-gemm",
        after=None,
        before=f"""
        g (float[4,5] x) => (float[4,4] y) <float[5,4] W, float[4,1] b, {BN}> {{
            c = Gemm (x, W, b)   y = BatchNormalization (c, gamma, beta, mean, var) }}""",
    )
    assert "row to row" in outcome.skips[0].reason
