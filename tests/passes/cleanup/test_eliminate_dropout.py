"""Dropout goes where it certainly does nothing."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


AFTER = "g (float[N,3] x) => (float[N,3] y) { a = Relu (x)  y = Exp (a) }"


@pytest.mark.parametrize(
    ("opset", "dropout"),
    [
        (21, "d = Dropout (a)"),
        (21, "d, mask = Dropout (a, ratio, never)"),
        (11, "d = Dropout <ratio = 0.3> (a)"),
        (7, "d, mask = Dropout <ratio = 0.3> (a)"),
    ],
)
def test_inference_forms_of_all_opsets(rewrite: Rewrite, opset: int, dropout: str) -> None:
    constants = "<float ratio = {0.3}, bool never = {0}>"
    before = f"g (float[N,3] x) => (float[N,3] y) {constants} {{ a = Relu (x)  {dropout}  y = Exp (d) }}"
    unused = constants if "never" not in dropout else ""
    after = AFTER.replace(" {", f" {unused} {{", 1)
    rewrite("eliminate-dropout", before=before, after=after, opset=opset)


def test_left_alone_in_training_or_where_the_mask_is_read(rewrite: Rewrite) -> None:
    rewrite(
        "eliminate-dropout",
        rtol=None,
        after=None,
        before="""
        g (float[N,3] x, bool t) => (float[N,3] y, bool[N,3] m) <float ratio = {0.3}, bool always = {1}> {
            a = Dropout (x, ratio, always)   b = Dropout (a, ratio, t)   y, m = Dropout (b)
        }""",
    )


def test_inside_bodies(rewrite: Rewrite) -> None:
    branch = "else_branch = e () => (float[3] q) { q = Exp (x) }"
    rewrite(
        "eliminate-dropout",
        before=f"""g (bool b, float[3] x) => (float[3] y) {{
            y = If (b) <then_branch = t () => (float[3] p) {{ i = Dropout (x)  p = Neg (i) }}, {branch}>
        }}""",
        after=f"""g (bool b, float[3] x) => (float[3] y) {{
            y = If (b) <then_branch = t () => (float[3] p) {{ p = Neg (x) }}, {branch}>
        }}""",
    )
