"""What is left of BatchNormalization becomes Mul and Add."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

BN = "float[4] gamma, float[4] beta, float[4] mean, float[4] var"


@pytest.mark.parametrize(("shape", "constant"), [("N,4", "4"), ("N,4,5", "4,1"), ("N,4,5,6", "4,1,1")])
def test_constants_follow_the_number_of_axes(rewrite: Rewrite, shape: str, constant: str) -> None:
    rewrite(
        "expand-batch-norm",
        before=f"""g (float[{shape}] x) => (float[{shape}] y) <{BN}> {{
            y = BatchNormalization <epsilon = 0.1> (x, gamma, beta, mean, var) }}""",
        after=f"""g (float[{shape}] x) => (float[{shape}] y) <float[{constant}] s, float[{constant}] t> {{
            m = Mul (x, s)   y = Add (m, t) }}""",
    )


def test_left_alone_in_training_or_where_the_rank_is_unknown(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "expand-batch-norm",
        after=None,
        rtol=None,
        before=f"""
        g (float[N,4] x, int64[R] shape) => (float[N,4] y, float[M] z) <{BN}, int64[1] flat = {{-1}}> {{
            y, m, v = BatchNormalization <training_mode = 1> (x, gamma, beta, mean, var)
            a = Reshape (x, shape)
            b = BatchNormalization (a, gamma, beta, mean, var)
            z = Reshape (b, flat) }}""",
    )
    assert ["training" in outcome.skips[0].reason, "axes" in outcome.skips[1].reason] == [True, True]
