"""BatchNormalization in front of a Gemm or MatMul disappears into its weights."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

BN = "float[5] gamma, float[5] beta, float[5] mean, float[5] var"


@pytest.mark.parametrize(
    ("op", "shapes", "after", "folded"),
    [
        ("Gemm (n, W)", "float[5,4] W", "Gemm (x, W, b)", "float[5,4] W"),
        ("MatMul (n, W)", "float[5,4] W", "Gemm (x, W, b)", "float[5,4] W"),
        (
            "Gemm <transB = 1, alpha = 3.0, beta = 2.0> (n, W, c)",
            "float[4,5] W, float[4] c",
            "Gemm <transB = 1, alpha = 3.0> (x, W, b)",
            "float[4,5] W",
        ),
    ],
)
def test_folds(rewrite: Rewrite, op: str, shapes: str, after: str, folded: str) -> None:
    rewrite(
        "fold-bn-before-gemm",
        before=f"""g (float[3,5] x) => (float[3,4] y) <{shapes}, {BN}, float[3,5] n> {{
            n = BatchNormalization (x, gamma, beta, mean, var)   y = {op} }}""",
        after=f"g (float[3,5] x) => (float[3,4] y) <{folded}, float[4] b> {{ y = {after} }}",
    )


def test_left_alone_when_transposed_or_of_more_axes(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fold-bn-before-gemm",
        after=None,
        before=f"""
        g (float[3,5] x, float[1,5,3] v) => (float[5,4] y, float[1,5,2] z) <
                float[3,4] W, float[3,2] U, {BN}, float[1,5,3] m> {{
            n = BatchNormalization (x, gamma, beta, mean, var)   y = Gemm <transA = 1> (n, W)
            m = BatchNormalization (v, gamma, beta, mean, var)   z = MatMul (m, U) }}""",
    )
    assert ["transposes" in outcome.skips[0].reason, "matrix" in outcome.skips[1].reason] == [True, True]
