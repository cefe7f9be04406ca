"""Two Transposes become one or none."""

from collections.abc import Callable

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


def test_two_become_one(rewrite: Rewrite) -> None:
    rewrite(
        "merge-transposes",
        before="""g (float[2,3,4] x) => (float[4,2,3] y) {
            a = Transpose <perm = [1, 2, 0]> (x)   y = Transpose <perm = [1, 2, 0]> (a) }""",
        after="g (float[2,3,4] x) => (float[4,2,3] y) { y = Transpose <perm = [2, 0, 1]> (x) }",
    )


def test_inverse_ones_vanish_with_and_without_perm(rewrite: Rewrite) -> None:
    rewrite(
        "merge-transposes",
        before="""g (float[2,3,4] x) => (float[2,3,4] y) {
            a = Transpose <perm = [1, 2, 0]> (x)   b = Transpose <perm = [2, 0, 1]> (a)
            c = Transpose (b)   d = Transpose (c)   y = Relu (d) }""",
        after="g (float[2,3,4] x) => (float[2,3,4] y) { y = Relu (x) }",
    )


def test_the_first_stays_for_its_other_readers(rewrite: Rewrite) -> None:
    rewrite(
        "merge-transposes",
        before="""g (float[2,3,4] x) => (float[2,3,4] y, float[3,4,2] z) {
            a = Transpose <perm = [1, 2, 0]> (x)   b = Transpose <perm = [2, 0, 1]> (a)
            y = Relu (b)   z = Exp (a) }""",
        after="""g (float[2,3,4] x) => (float[2,3,4] y, float[3,4,2] z) {
            a = Transpose <perm = [1, 2, 0]> (x)   y = Relu (x)   z = Exp (a) }""",
    )


def test_a_pair_between_public_names_stays(rewrite: Rewrite) -> None:
    rewrite(
        "merge-transposes",
        after=None,
        before="""
        g (float[2,3,4] x) => (float[2,3,4] y) {
            a = Transpose <perm = [1, 2, 0]> (x)   y = Transpose <perm = [2, 0, 1]> (a) }""",
    )


def test_across_the_border_of_a_body(rewrite: Rewrite) -> None:
    kept = "else_branch = e () => (float[3,2] q) { q = Exp (a) }"
    rewrite(
        "merge-transposes",
        before=f"""g (bool b, float[2,3] x) => (float[M,N] y) {{
            a = Transpose <perm = [1, 0]> (x)
            y = If (b) <then_branch = t () => (float[2,3] p) {{
                i = Transpose <perm = [1, 0]> (a)  p = Neg (i) }}, {kept}>
        }}""",
        after=f"""g (bool b, float[2,3] x) => (float[M,N] y) {{
            a = Transpose <perm = [1, 0]> (x)
            y = If (b) <then_branch = t () => (float[2,3] p) {{ p = Neg (x) }}, {kept}>
        }}""",
    )
