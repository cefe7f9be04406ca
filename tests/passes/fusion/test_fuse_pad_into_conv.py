"""Zero padding becomes the Conv's own."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("pad", "constants", "attributes", "padded"),
    [
        ("Pad (x, p)", "int64[8] p = {0, 0, 1, 2, 0, 0, 0, 1}", "", "1, 2, 0, 1"),
        (
            "Pad (x, p, zero)",
            "int64[8] p = {0, 0, 1, 2, 0, 0, 0, 1}, float zero = {0}",
            "pads = [1, 0, 1, 0]",
            "2, 2, 1, 1",
        ),
        (
            "Pad (x, p, , axes)",
            "int64[4] p = {1, 2, 3, 0}, int64[2] axes = {-1, 2}",
            'auto_pad = "VALID"',
            "2, 1, 0, 3",
        ),
    ],
)
def test_amounts_add_up(rewrite: Rewrite, pad: str, constants: str, attributes: str, padded: str) -> None:
    given = f"<{attributes}>" if attributes else ""
    rewrite(
        "fuse-pad-into-conv",
        before=f"""g (float[1,3,8,8] x) => (float[1,4,M,N] y) <float[4,3,3,3] W, float[4] b, {constants}> {{
            a = {pad}   y = Conv {given} (a, W, b) }}""",
        after=f"""g (float[1,3,8,8] x) => (float[1,4,M,N] y) <float[4,3,3,3] W, float[4] b> {{
            y = Conv <pads = [{padded}]> (x, W, b) }}""",
    )


def test_each_of_several_convs_takes_it_over(rewrite: Rewrite) -> None:
    rewrite(
        "fuse-pad-into-conv",
        before="""g (float[1,3,8] x) => (float[1,4,8] y, float[1,5,8] z) <
                float[4,3,3] W, float[5,3,3] V, int64[6] p = {0, 0, 1, 0, 0, 1}> {
            a = Pad (x, p)   y = Conv (a, W)   z = Conv (a, V) }""",
        after="""g (float[1,3,8] x) => (float[1,4,8] y, float[1,5,8] z) <float[4,3,3] W, float[5,3,3] V> {
            y = Conv <pads = [1, 1]> (x, W)   z = Conv <pads = [1, 1]> (x, V) }""",
    )


@pytest.mark.parametrize(
    ("pad", "constants", "conv", "reason"),
    [
        ('Pad <mode = "edge"> (x, p)', "int64[6] p = {0, 0, 1, 0, 0, 1}", "Conv (a, W)", "with a constant"),
        ("Pad (x, p, v)", "int64[6] p = {0, 0, 1, 0, 0, 1}, float v = {1}", "Conv (a, W)", "with zeros"),
        ("Pad (x, p)", "int64[6] p = {0, 0, -1, 0, 0, 1}", "Conv (a, W)", "negative"),
        ("Pad (x, p)", "int64[6] p = {1, 0, 0, 0, 0, 0}", "Conv (a, W)", "not spatial"),
        (
            "Pad (x, p)",
            "int64[6] p = {0, 0, 1, 0, 0, 1}",
            'Conv <auto_pad = "SAME_UPPER"> (a, W)',
            "auto_pad",
        ),
    ],
)
def test_left_alone(rewrite: Rewrite, pad: str, constants: str, conv: str, reason: str) -> None:
    outcome = rewrite(
        "fuse-pad-into-conv",
        after=None,
        before=f"""
        g (float[1,3,8] x) => (float[K,4,M] y) <float[4,3,3] W, {constants}> {{ a = {pad}   y = {conv} }}""",
    )
    assert reason in outcome.skips[0].reason


def test_left_alone_when_something_else_reads_the_pad(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fuse-pad-into-conv",
        after=None,
        before="""
        g (float[1,3,8] x) => (float[1,4,8] y, float[1,3,10] z) <
                float[4,3,3] W, int64[6] p = {0, 0, 1, 0, 0, 1}> {
            a = Pad (x, p)   y = Conv (a, W)   z = Relu (a) }""",
    )
    assert "something other" in outcome.skips[0].reason


def test_inside_bodies_but_not_across_their_border(rewrite: Rewrite) -> None:
    types = "<float[4,3,3] W, int64[6] p = {0, 0, 1, 0, 0, 1}>"
    branch = "else_branch = e () => (float[1,4,8] q) { q = Conv (a, W) }"
    rewrite(
        "fuse-pad-into-conv",
        before=f"""g (bool b, float[1,3,8] x) => (float[1,4,8] y) {types} {{
            a = Pad (x, p)
            y = If (b) <then_branch = t () => (float[1,4,8] r) {{
                i = Pad (x, p)  r = Conv (i, W) }}, {branch}>
        }}""",
        after=f"""g (bool b, float[1,3,8] x) => (float[1,4,8] y) {types} {{
            a = Pad (x, p)
            y = If (b) <then_branch = t () => (float[1,4,8] r) {{
                r = Conv <pads = [1, 1]> (x, W) }}, {branch}>
        }}""",
    )
