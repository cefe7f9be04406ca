"""x + 0 and its kin go, unless the constant widens the shape."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.passes.cleanup.eliminate_noop_arithmetic import EliminateNoopArithmetic
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context

Rewrite = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("op", "constant"),
    [
        ("Add (a, c)", "float c = {0.0}"),
        ("Add (c, a)", "float[3] c = {0.0, 0.0, 0.0}"),
        ("Sub (a, c)", "float[1] c = {-0.0}"),
        ("Mul (a, c)", "float[1,3] c = {1.0, 1.0, 1.0}"),
        ("Mul (c, a)", "float[1,1] c = {1.0}"),
        ("Div (a, c)", "float c = {1.0}"),
        ("Pow (a, c)", "int64 c = {1}"),
        ("Max (c, a)", "float c = {-inf}"),
        ("Min (a, c)", "float[1] c = {inf}"),
    ],
)
def test_neutral_elements_go(rewrite: Rewrite, op: str, constant: str) -> None:
    before = f"""g (float[N,3] x) => (float[N,3] y) <{constant}, float[N,3] a> {{
        a = Exp (x)  b = {op}  y = Neg (b) }}"""
    after = "g (float[N,3] x) => (float[N,3] y) { a = Exp (x)  y = Neg (a) }"
    rewrite("eliminate-noop-arithmetic", before=before, after=after)


@pytest.mark.parametrize(
    ("op", "constant", "shape"),
    [
        ("Sub (c, a)", "float c = {0.0}", "N,3"),
        ("Div (c, a)", "float c = {1.0}", "N,3"),
        ("Pow (c, a)", "float c = {1.0}", "N,3"),
        ("Mul (a, c)", "float[3] c = {1.0, 1.0, 1.5}", "N,3"),
        ("Max (a, c, a)", "float c = {-inf}", "N,3"),
        ("Min (a, c)", "float c = {-inf}", "N,3"),
        ("Add (a, c)", "float[1,1,1] c = {0.0}", "1,N,3"),
        ("Add (a, c)", "float[2,3] c = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0}", "2,3"),
    ],
)
def test_left_alone_where_value_or_shape_could_change(
    rewrite: Rewrite, op: str, constant: str, shape: str
) -> None:
    rewrite(
        "eliminate-noop-arithmetic",
        after=None,
        before=f"""
        g (float[N,3] x) => (float[{shape}] y) <{constant}, float[N,3] a> {{
            a = Exp (x)  b = {op}  y = Neg (b) }}""",
    )


def test_a_product_of_integers_with_zero_is_zero(rewrite: Rewrite) -> None:
    rewrite(
        "eliminate-noop-arithmetic",
        before="""g (int64[2] n, float[3,2] x) => (float[3,2] y) <int64[3,1] none = {0, 0, 0}> {
            m = Mul (n, none)  f = Cast <to = 1> (m)  y = Add (x, f) }""",
        after="""g (int64[2] n, float[3,2] x) => (float[3,2] y) <int64[3,2] m = {0, 0, 0, 0, 0, 0}> {
            f = Cast <to = 1> (m)  y = Add (x, f) }""",
    )
    for kind in ("float[2]", "int64[N]"):
        rewrite(
            "eliminate-noop-arithmetic",
            after=None,
            before=f"""g ({kind} n) => ({kind} y) <{kind[:5]} none = {{0}}> {{
                m = Mul (n, none)  y = Neg (m) }}""",
        )


def test_shapes_that_do_not_fit_are_left_for_others_to_name(onnx_text: Callable[[str], ir.Model]) -> None:
    model = onnx_text("""g (int64[2] n) => (int64[M] y) <int64[3] none = {0, 0, 0}> {
        m = Mul (n, none)  y = Neg (m) }""")
    assert EliminateNoopArithmetic().run(model, Context()).edits == 0


def test_an_unknown_rank_admits_scalars_only(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "eliminate-noop-arithmetic",
        before="""g (float[N,3] x, int64[1] s) => (float[M] y) <float zero = {0.0}, float[1] one = {1.0}> {
            a = Reshape (x, s)   b = Add (a, zero)   c = Mul (b, one)   y = Exp (c) }""",
        after="""g (float[N,3] x, int64[1] s) => (float[M] y) <float[1] one = {1.0}> {
            a = Reshape (x, s)   c = Mul (a, one)   y = Exp (c) }""",
        feeds={"s": np.array([-1])},
    )
    assert "may widen" in outcome.skips[0].reason


def test_inside_bodies_with_a_constant_from_outside(rewrite: Rewrite) -> None:
    live = "else_branch = e () => (float[3] q) { q = Add (x, w) }"
    rewrite(
        "eliminate-noop-arithmetic",
        before=f"""g (bool b, float[3] x) => (float[3] y) <float one = {{1.0}}, float[3] w> {{
            y = If (b) <then_branch = t () => (float[3] p) {{ i = Mul (x, one)  p = Neg (i) }}, {live}>
        }}""",
        after=f"""g (bool b, float[3] x) => (float[3] y) <float[3] w> {{
            y = If (b) <then_branch = t () => (float[3] p) {{ p = Neg (x) }}, {live}>
        }}""",
    )
