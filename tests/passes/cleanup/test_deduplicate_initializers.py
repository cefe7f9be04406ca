"""Equal bytes, type and shape: one initializer."""

from collections.abc import Callable

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


def test_equal_ones_of_one_type_and_shape_become_one(rewrite: Rewrite) -> None:
    model = rewrite(
        "deduplicate-initializers",
        before="""g (float[N,2] x) => (float[N,2] y) <
                float[2] a = {1.0, 2.0}, float[2] b = {1.0, 2.0}, float[1,2] c = {1.0, 2.0}> {
            p = Mul (x, a)   q = Add (p, b)   r = Mul (q, c)   y = Add (r, b) }""",
        after="""g (float[N,2] x) => (float[N,2] y) <float[2] a = {1.0, 2.0}, float[1,2] c = {1.0, 2.0}> {
            p = Mul (x, a)   q = Add (p, a)   r = Mul (q, c)   y = Add (r, a) }""",
    ).model
    assert list(model.graph.initializers) == ["a", "c"]


def test_bytes_count_not_values(rewrite: Rewrite) -> None:
    rewrite(
        "deduplicate-initializers",
        after=None,
        before="""
        g (float[1] x) => (float[1] y, float[1] z) <
                float[1] a = {0.0}, float[1] b = {-0.0}, int32[1] i = {0}, float[1] one = {1.0}> {
            k = Cast <to = 1> (i)   p = Mul (x, a)   q = Mul (p, k)   y = Add (q, one)   z = Add (x, b) }""",
    )


def test_readers_inside_bodies_follow(rewrite: Rewrite) -> None:
    def text(second: str, declared: str) -> str:
        return f"""g (bool c, float[1] x) => (float[1] y) <float[1] a = {{2.0}}{declared}> {{
            m = Mul (x, a)
            y = If (c) <
                then_branch = t () => (float[1] p) {{ p = Add (m, {second}) }},
                else_branch = e () => (float[1] q) {{ q = Neg (m) }}>
        }}"""

    rewrite("deduplicate-initializers", before=text("b", ", float[1] b = {2.0}"), after=text("a", ""))


def test_overridable_and_public_ones_stay(rewrite: Rewrite) -> None:
    rewrite(
        "deduplicate-initializers",
        after=None,
        before="""
        g (float[1] x, float[1] a = {1.0}) => (float[1] y) <float[1] b = {1.0}> {
            p = Mul (x, a)   y = Add (p, b) }""",
    )


def test_each_body_has_its_own(rewrite: Rewrite) -> None:
    def text(second: str, declared: str) -> str:
        return f"""g (bool c, float[1] x) => (float[1] y) <float[1] w = {{2.0}}> {{
            m = Mul (x, w)
            y = If (c) <
                then_branch = t () => (float[1] p) <float[1] a = {{2.0}}{declared}> {{
                    i = Mul (m, a)  p = Add (i, {second}) }},
                else_branch = e () => (float[1] q) {{ q = Neg (m) }}>
        }}"""

    rewrite("deduplicate-initializers", before=text("b", ", float[1] b = {2.0}"), after=text("a", ""))
