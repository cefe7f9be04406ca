"""What no output depends on goes; what a body reads is read."""

from collections.abc import Callable

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


def test_dead_chains_and_their_constants_go(rewrite: Rewrite) -> None:
    model = rewrite(
        "eliminate-dead-nodes",
        before="""g (float[N,3] x, float[3] unused) => (float[N,3] y) <float[3] w, float[3] never> {
            a = Mul (x, w)   b = Exp (a)   c = Neg (b)   y = Relu (x)   d, i = TopK (c, k)   k = Constant
        }""".replace("   d, i = TopK (c, k)   k = Constant", ""),
        after="g (float[N,3] x, float[3] unused) => (float[N,3] y) { y = Relu (x) }",
    ).model
    assert not model.graph.initializers
    assert [value.name for value in model.graph.inputs] == ["x", "unused"]


def test_an_unused_initializer_alone_is_an_edit(rewrite: Rewrite) -> None:
    before = "g (float[3] x) => (float[3] y) <float[3] never> { y = Relu (x) }"
    assert not rewrite("eliminate-dead-nodes", before=before, after=before).model.graph.initializers


def test_one_live_output_keeps_the_node(rewrite: Rewrite) -> None:
    rewrite(
        "eliminate-dead-nodes",
        after=None,
        before="""
        g (float[4] x) => (float[2] y) <int64[1] k = {2}> { y, indices = TopK (x, k) }""",
    )


def test_values_that_bodies_read_stay_and_bodies_are_cleaned(rewrite: Rewrite) -> None:
    live = "else_branch = e () => (float[3] q) { q = Exp (x) }"
    rewrite(
        "eliminate-dead-nodes",
        before=f"""g (bool b, float[3] x) => (float[3] y) <float[3] w, float[3] v> {{
            captured = Mul (x, w)   once = Mul (x, v)
            y = If (b) <then_branch = t () => (float[3] p) {{ p = Neg (captured)  r = Neg (once) }}, {live}>
        }}""",
        after=f"""g (bool b, float[3] x) => (float[3] y) <float[3] w> {{
            captured = Mul (x, w)
            y = If (b) <then_branch = t () => (float[3] p) {{ p = Neg (captured) }}, {live}>
        }}""",
    )


def test_a_dead_if_releases_what_its_bodies_read(rewrite: Rewrite) -> None:
    rewrite(
        "eliminate-dead-nodes",
        before="""g (bool b, float[3] x) => (float[3] y) {
            captured = Neg (x)
            z = If (b) <
                then_branch = t () => (float[3] p) { p = Neg (captured) },
                else_branch = e () => (float[3] q) { q = Exp (captured) }>
            y = Relu (x)
        }""",
        after="g (bool b, float[3] x) => (float[3] y) { y = Relu (x) }",
    )


def test_functions_are_cleaned_and_uncalled_ones_go(rewrite: Rewrite) -> None:
    head = """<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
        g (float[3] x) => (float[3] y) { y = local.outer (x) }
        <domain: "local", opset_import: ["" : 21, "local" : 1]>
        outer (a) => (b) { b = local.inner (a) }
        <domain: "local", opset_import: ["" : 21]>"""
    rewrite(
        "eliminate-dead-nodes",
        before=f"""{head} inner (a) => (b) {{ c = Exp (a)  b = Neg (a) }}
            <domain: "local", opset_import: ["" : 21]> unused (a) => (b) {{ b = Exp (a) }}""",
        after=f"{head} inner (a) => (b) {{ b = Neg (a) }}",
    )
