"""inline-constant-if: the branch that is always taken stands in place of the If."""

from collections.abc import Callable

from onnxq.pipeline.base import Outcome

TEXT = """g (float[2] x) => (float[2] y) <bool[1] c = {%s}, float[2] w = {1, 2}> {
    a = Relu (x)
    y = If (c) <
        then_branch = t () => (float[2] p) { s = Add (a, w) p = Mul (s, s) },
        else_branch = e () => (float[2] q) { q = Sub (a, w) }>
}"""


def test_the_branch_that_is_taken(rewrite: Callable[..., Outcome]) -> None:
    rewrite(
        "inline-constant-if",
        before=TEXT % 1,
        after="""g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
            a = Relu (x)
            s = Add (a, w)
            y = Mul (s, s)
        }""",
    )
    rewrite(
        "inline-constant-if",
        before=TEXT % 0,
        after="g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { a = Relu (x) y = Sub (a, w) }",
    )


def test_an_if_in_the_branch_goes_first(rewrite: Callable[..., Outcome]) -> None:
    rewrite(
        "inline-constant-if",
        before="""g (float[2] x) => (float[2] y) <bool c = {1}> {
            y = If (c) <
                then_branch = t () => (float[2] p) {
                    p = If (c) <
                        then_branch = u () => (float[2] r) { r = Relu (x) },
                        else_branch = v () => (float[2] s) { s = Neg (x) }>
                },
                else_branch = e () => (float[2] q) { q = Abs (x) }>
        }""",
        after="g (float[2] x) => (float[2] y) { y = Relu (x) }",
    )


def test_conditions_within_a_branch_are_computed_once_it_is_inlined(rewrite: Callable[..., Outcome]) -> None:
    """The inner condition hangs on a shape that a body does not know; the innermost body reads a copy."""
    rewrite(
        "inline-constant-if",
        before="""g (float[2,3] x, bool d) => (float[6] y)
          <bool c = {1}, int64[1] flat = {-1}, int64 one = {1}> {
            y = If (c) <
                then_branch = t () => (float[6] p) {
                    a = Reshape (x, flat)
                    s = Shape (a)
                    n = Size (s)
                    vector = Equal (n, one)
                    p = If (vector) <
                        then_branch = u () => (float[6] r) {
                            r = If (d) <
                                then_branch = k () => (float[6] f) { f = Relu (a) },
                                else_branch = l () => (float[6] h) { h = Neg (a) }>
                        },
                        else_branch = v () => (float[6] z) { z = Abs (a) }>
                },
                else_branch = e () => (float[6] q) { b = Abs (x) q = Reshape (b, flat) }>
        }""",
        after="""g (float[2,3] x, bool d) => (float[6] y) <int64[1] flat = {-1}> {
            a = Reshape (x, flat)
            y = If (d) <
                then_branch = k () => (float[6] f) { f = Relu (a) },
                else_branch = l () => (float[6] h) { h = Neg (a) }>
        }""",
    )


def test_a_condition_from_outside_is_left_alone(rewrite: Callable[..., Outcome]) -> None:
    rewrite(
        "inline-constant-if",
        before="""g (float[2] x, bool c) => (float[2] y) {
            y = If (c) <
                then_branch = t () => (float[2] p) { p = Relu (x) },
                else_branch = e () => (float[2] q) { q = Abs (x) }>
        }""",
        after=None,
    )
