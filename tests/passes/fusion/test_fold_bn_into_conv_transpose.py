"""BatchNormalization behind a ConvTranspose disappears into its weights."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

BN = "float[4] gamma, float[4] beta, float[4] mean, float[4] var"


@pytest.mark.parametrize(("group", "bias"), [(1, ""), (2, ", b"), (4, "")])
def test_folds_in_every_grouping(rewrite: Rewrite, group: int, bias: str) -> None:
    weight = f"float[8,{4 // group},3,3] W"
    given = f"{weight}, float[4] b" if bias else weight
    op = f"ConvTranspose <group = {group}, strides = [2, 2]>"
    rewrite(
        "fold-bn-into-conv-transpose",
        before=f"""g (float[1,8,4,4] x) => (float[1,4,9,9] y) <{given}, {BN}> {{
            c = {op} (x, W{bias})   y = BatchNormalization (c, gamma, beta, mean, var) }}""",
        after=f"""g (float[1,8,4,4] x) => (float[1,4,9,9] y) <{weight}, float[4] b> {{
            y = {op} (x, W, b) }}""",
    )


def test_left_alone_when_its_output_is_read_twice(rewrite: Rewrite) -> None:
    rewrite(
        "fold-bn-into-conv-transpose",
        after=None,
        before=f"""
        g (float[1,8,4,4] x) => (float[1,4,6,6] y, float[1,4,6,6] z) <float[8,4,3,3] W, {BN}> {{
            c = ConvTranspose (x, W)   z = Relu (c)
            y = BatchNormalization (c, gamma, beta, mean, var) }}""",
    )
