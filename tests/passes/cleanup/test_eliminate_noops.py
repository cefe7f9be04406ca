"""Cast, Transpose, Reshape, Pad, Slice and lists of one that change nothing."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


NOOPS = [
    ("eliminate-noop-cast", "Cast <to = 1> (a)", ""),
    ("eliminate-noop-transpose", "Transpose <perm = [0, 1, 2]> (a)", ""),
    ("eliminate-noop-reshape", "Reshape (a, s)", "int64[3] s = {-1, 3, 4}, float[M,3,4] b"),
    ("eliminate-noop-reshape", "Expand (a, s)", "int64[1] s = {1}, float[2,3,4] b"),
    ("eliminate-noop-pad", 'Pad <mode = "edge"> (a, n)', "int64[6] n = {0, 0, 0, 0, 0, 0}"),
    ("eliminate-noop-slice", "Slice (a, i, j, k)", "int64[1] i = {0}, int64[1] j = {4}, int64[1] k = {-1}"),
    ("eliminate-noop-slice", "Slice (a, i, j)", "int64[1] i = {0}, int64[1] j = {2147483647}"),
    ("eliminate-single-input", "Concat <axis = 1> (a)", ""),
    ("eliminate-single-input", "Sum (a)", ""),
    ("eliminate-single-input", "Mean (a)", ""),
    ("eliminate-single-input", "Max (a)", ""),
    ("eliminate-single-input", "Min (a)", ""),
]


@pytest.mark.parametrize(("name", "op", "declared"), NOOPS)
def test_noops_go_from_the_main_graph_and_from_bodies(
    rewrite: Rewrite, name: str, op: str, declared: str
) -> None:
    shape = "2,3,4"
    types = ", ".join(filter(None, [f"float[{shape}] a", declared]))
    kept = "else_branch = e () => (float[2,3,4] q) { q = Abs (a) }"
    rewrite(
        name,
        before=f"""g (bool c, float[{shape}] x) => (float[{shape}] y) <{types}> {{
            a = Exp (x)   b = {op}   d = Neg (b)
            e = If (c) <then_branch = t () => (float[{shape}] p) <float[{shape}] b2> {{
                b2 = {op}  p = Neg (b2) }}, {kept}>
            y = Add (d, e)
        }}""",
        after=f"""g (bool c, float[{shape}] x) => (float[{shape}] y) {{
            a = Exp (x)   d = Neg (a)
            e = If (c) <then_branch = t () => (float[{shape}] p) {{ p = Neg (a) }}, {kept}>
            y = Add (d, e)
        }}""",
    )


@pytest.mark.parametrize(
    ("name", "op", "result", "declared"),
    [
        ("eliminate-noop-cast", "Cast <to = 11> (a)", "double[2,N]", ""),
        ("eliminate-noop-transpose", "Transpose (a)", "float[N,2]", ""),
        ("eliminate-noop-transpose", "Transpose <perm = [1, 0]> (a)", "float[N,2]", ""),
        ("eliminate-noop-reshape", "Reshape (a, s)", "float[M,2]", "int64[2] s = {-1, 2}"),
        ("eliminate-noop-reshape", "Reshape (a, s)", "float[2,2]", "int64[2] s = {2, -1}, float[2,2] b"),
        ("eliminate-noop-reshape", "Expand (a, s)", "float[2,M]", "int64[2] s = {1, 1}, float[2,M] b"),
        ("eliminate-noop-reshape", "Flatten <axis = 2> (a)", "float[M,1]", ""),
        ("eliminate-noop-pad", "Pad (a, p)", "float[2,M]", "int64[4] p = {0, 1, 0, 0}"),
        ("eliminate-noop-slice", "Slice (a, i, j)", "float[2,N]", "int64[1] i = {-2}, int64[1] j = {2}"),
        ("eliminate-noop-slice", "Slice (a, i, j)", "float[M,N]", "int64[1] i = {0}, int64[1] j = {1}"),
        (
            "eliminate-noop-slice",
            "Slice (a, i, j, k)",
            "float[2,M]",
            "int64[1] i = {0}, int64[1] j = {9}, int64[1] k = {1}",
        ),
        (
            "eliminate-noop-slice",
            "Slice (a, i, j, k, s)",
            "float[1,N]",
            "int64[1] i = {0}, int64[1] j = {9}, int64[1] k = {0}, int64[1] s = {2}",
        ),
        ("eliminate-single-input", "Sum (a, a)", "float[2,N]", ""),
    ],
)
def test_left_alone_where_something_may_change(
    rewrite: Rewrite, name: str, op: str, result: str, declared: str
) -> None:
    types = ", ".join(filter(None, ["float[2,N] a", declared]))
    rewrite(
        name,
        after=None,
        before=f"""
        g (float[2,N] x) => ({result} y) <{types}> {{ a = Exp (x)   b = {op}   y = Neg (b) }}""",
    )


def test_an_unknown_type_is_no_noop_cast(rewrite: Rewrite) -> None:
    rewrite(
        "eliminate-noop-cast",
        after=None,
        before="""
        g (float[3] x) => (float[3] y) { a = Exp (x)   y = Cast <to = 1> (a) }""",
    )
