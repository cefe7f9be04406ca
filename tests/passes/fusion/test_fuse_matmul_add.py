"""A matrix product and its bias become one Gemm."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("add", "bias"),
    [("Add (m, b)", "float[4] b"), ("Add (b, m)", "float[1,4] b"), ("Add (m, b)", "float b")],
)
def test_fuses(rewrite: Rewrite, add: str, bias: str) -> None:
    rewrite(
        "fuse-matmul-add",
        before=f"""g (float[N,5] x) => (float[N,4] y) <float[5,4] W, {bias}> {{
            m = MatMul (x, W)   y = {add} }}""",
        after=f"g (float[N,5] x) => (float[N,4] y) <float[5,4] W, {bias}> {{ y = Gemm (x, W, b) }}",
    )


@pytest.mark.parametrize(
    ("x", "bias", "result", "reason"),
    [
        ("2,3,5", "float[4] b", "2,3,4", "3 axes"),
        ("4,5", "float[4,1] b", "4,4", "no row"),
        ("2,5", "float[1,1,4] b", "1,2,4", "no row"),
        ("4,5", "float[4,4] b", "4,4", "no row"),
    ],
)
def test_left_alone_where_gemm_cannot_do_it(
    rewrite: Rewrite, x: str, bias: str, result: str, reason: str
) -> None:
    outcome = rewrite(
        "fuse-matmul-add",
        after=None,
        before=f"""
        g (float[{x}] x) => (float[{result}] y) <float[5,4] W, {bias}> {{
            m = MatMul (x, W)   y = Add (m, b) }}""",
    )
    assert reason in outcome.skips[0].reason


def test_left_alone_when_the_product_is_read_twice(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fuse-matmul-add",
        after=None,
        before="""
        g (float[N,5] x) => (float[N,4] y, float[N,4] z) <float[5,4] W, float[4] b> {
            m = MatMul (x, W)   y = Add (m, b)   z = Relu (m) }""",
    )
    assert "something else reads" in outcome.skips[0].reason


def test_other_sums_are_no_biases(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fuse-matmul-add",
        after=None,
        before="""
        g (float[3,5] x, float[5,4] v, float[4] b) => (float[3,4] y, float[3,4] z)
                <float[5,4] W, float[4] c> {
            m = MatMul (x, W)   y = Add (m, b)   n = MatMul (x, v)   z = Add (n, c) }""",
    )
    assert not outcome.skips


def test_inside_bodies(rewrite: Rewrite) -> None:
    rest = "else_branch = e () => (float[3,4] q) { q = MatMul (x, W) }"
    rewrite(
        "fuse-matmul-add",
        before=f"""g (bool b, float[3,5] x) => (float[3,4] y) <float[5,4] W, float[4] c> {{
            y = If (b) <then_branch = t () => (float[3,4] p) {{ m = MatMul (x, W)  p = Add (m, c) }}, {rest}>
        }}""",
        after=f"""g (bool b, float[3,5] x) => (float[3,4] y) <float[5,4] W, float[4] c> {{
            y = If (b) <then_branch = t () => (float[3,4] p) {{ p = Gemm (x, W, c) }}, {rest}> }}""",
    )
