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
