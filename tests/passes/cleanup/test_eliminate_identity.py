"""Identity goes, public names stay."""

from collections.abc import Callable

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


def test_readers_read_the_input_and_the_output_name_moves(rewrite: Rewrite) -> None:
    rewrite(
        "eliminate-identity",
        before="""g (float[N,3] x) => (float[N,3] y, float[N,3] z) {
            a = Identity (x)   b = Identity (a)   c = Relu (b)   z = Exp (a)   y = Identity (c)
        }""",
        after="g (float[N,3] x) => (float[N,3] y, float[N,3] z) { y = Relu (x)   z = Exp (x) }",
    )


def test_the_input_keeps_its_own_shape(rewrite: Rewrite) -> None:
    model = rewrite(
        "eliminate-identity",
        before="g (float[2,3] x) => (float[2,3] y) <float[M,K] a> { a = Identity (x)  y = Relu (a) }",
        after="g (float[2,3] x) => (float[2,3] y) { y = Relu (x) }",
    ).model
    assert str(model.graph.inputs[0].shape) == "[2,3]"


def test_an_input_or_constant_that_is_an_output_keeps_its_identity(rewrite: Rewrite) -> None:
    rewrite(
        "eliminate-identity",
        after=None,
        before="""
        g (float[3] x) => (float[3] y, float[3] v, float[3] p, float[3] q) <float[3] w> {
            y = Identity (x)   v = Identity (w)   p = Relu (x)   q = Identity (p)
        }""",
    )


def test_inside_bodies(rewrite: Rewrite) -> None:
    rewrite(
        "eliminate-identity",
        before="""g (bool b, float[3] x) => (float[3] y) {
            y = If (b) <
                then_branch = t () => (float[3] p) { i = Identity (x)  j = Relu (i)  p = Identity (j) },
                else_branch = e () => (float[3] q) { q = Identity (x) }>
        }""",
        after="""g (bool b, float[3] x) => (float[3] y) {
            y = If (b) <
                then_branch = t () => (float[3] p) { p = Relu (x) },
                else_branch = e () => (float[3] q) { q = Identity (x) }>
        }""",
    )
