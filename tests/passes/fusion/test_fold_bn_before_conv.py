"""BatchNormalization in front of a Conv disappears into its weights."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

BN = "float[4] gamma, float[4] beta, float[4] mean, float[4] var"
ZERO = "float[4] gamma, float[4] beta = {0, 0, 0, 0}, float[4] mean = {0, 0, 0, 0}, float[4] var"


@pytest.mark.parametrize(
    ("weight", "attributes", "bias", "norm", "out"),
    [
        ("float[6,4,3,3] W", "dilations = [1, 1]", "", BN, "6,6,6"),
        ("float[6,2,3,3] W, float[6] b", "group = 2", ", b", BN, "6,6,6"),
        ("float[8,1,3,3] W", 'group = 4, auto_pad = "VALID"', "", BN, "8,6,6"),
        ("float[6,4,1,1] W", 'strides = [2, 2], auto_pad = "SAME_UPPER"', "", BN, "6,4,4"),
        ("float[6,4,3,3] W, float[6] b", "pads = [1, 1, 1, 1]", ", b", ZERO, "6,8,8"),
    ],
)
def test_folds_where_no_padding_meets_the_shift(
    rewrite: Rewrite, weight: str, attributes: str, bias: str, norm: str, out: str
) -> None:
    channels = out.split(",")[0]
    folded = weight if bias else f"{weight}, float[{channels}] b"
    rewrite(
        "fold-bn-before-conv",
        before=f"""g (float[1,4,8,8] x) => (float[1,{out}] y) <{weight}, {norm}> {{
            n = BatchNormalization (x, gamma, beta, mean, var)   y = Conv <{attributes}> (n, W{bias}) }}""",
        after=f"""g (float[1,4,8,8] x) => (float[1,{out}] y) <{folded}> {{
            y = Conv <{attributes}> (x, W, b) }}""",
    )


@pytest.mark.parametrize("padding", ["pads = [0, 1, 0, 1]", 'auto_pad = "SAME_LOWER"'])
def test_left_alone_when_padding_zeros_would_be_shifted(rewrite: Rewrite, padding: str) -> None:
    outcome = rewrite(
        "fold-bn-before-conv",
        after=None,
        before=f"""
        g (float[1,4,8,8] x) => (float[1,6,M,N] y) <float[6,4,3,3] W, {BN}> {{
            n = BatchNormalization (x, gamma, beta, mean, var)   y = Conv <{padding}> (n, W) }}""",
    )
    assert "pads with zeros" in outcome.skips[0].reason


def test_left_alone_when_something_else_reads_it(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fold-bn-before-conv",
        after=None,
        before=f"""
        g (float[1,4,8,8] x) => (float[1,6,6,6] y, float[1,4,8,8] z) <float[6,4,3,3] W, {BN}> {{
            n = BatchNormalization (x, gamma, beta, mean, var)   y = Conv (n, W)   z = Relu (n) }}""",
    )
    assert "something else reads" in outcome.skips[0].reason
