"""BatchNormalization behind a Conv disappears into its weights."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

BN = "float[4] gamma, float[4] beta, float[4] mean, float[4] var"


@pytest.mark.parametrize(
    ("weight", "attributes", "bias"),
    [
        ("float[4,6,3,3] W", "pads = [1, 1, 1, 1]", ""),
        ("float[4,6,3,3] W, float[4] b", "pads = [1, 1, 1, 1], strides = [1, 1]", ", b"),
        ("float[4,3,3,3] W, float[4] b", 'group = 2, auto_pad = "SAME_UPPER"', ", b"),
    ],
)
def test_folds_with_and_without_bias_and_groups(
    rewrite: Rewrite, weight: str, attributes: str, bias: str
) -> None:
    folded = weight if bias else f"{weight}, float[4] b"
    rewrite(
        "fold-bn-into-conv",
        before=f"""g (float[1,6,8,8] x) => (float[1,4,8,8] y) <{weight}, {BN}> {{
            c = Conv <{attributes}> (x, W{bias})
            y = BatchNormalization <epsilon = 0.01> (c, gamma, beta, mean, var) }}""",
        after=f"""g (float[1,6,8,8] x) => (float[1,4,8,8] y) <{folded}> {{
            y = Conv <{attributes}> (x, W, b) }}""",
    )


def test_a_weight_shared_by_two_convs_is_copied(rewrite: Rewrite) -> None:
    rewrite(
        "fold-bn-into-conv",
        before=f"""g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[4,4,1,1] W, {BN}> {{
            c = Conv (x, W)   d = BatchNormalization (c, gamma, beta, mean, var)   y = Conv (d, W) }}""",
        after="""g (float[1,4,8,8] x) => (float[1,4,8,8] y)
                <float[4,4,1,1] W, float[4,4,1,1] V, float[4] b> {
            d = Conv (x, V, b)   y = Conv (d, W) }""",
    )


def test_left_alone_when_the_conv_output_is_read_twice(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fold-bn-into-conv",
        after=None,
        before=f"""
        g (float[1,3,8,8] x) => (float[1,4,6,6] y, float[1,4,6,6] c) <float[4,3,3,3] W, {BN}> {{
            c = Conv (x, W)   y = BatchNormalization (c, gamma, beta, mean, var) }}""",
    )
    assert "something else reads" in outcome.skips[0].reason


@pytest.mark.parametrize(
    ("weight", "extra", "reason"),
    [
        ("float[4,3,3,3] W, float[4] gamma, float[4] beta, float[4] mean", ", float[4] var", "not constant"),
        ("float[4] gamma, float[4] beta, float[4] mean, float[4] var", ", float[4,3,3,3] W", "not constant"),
    ],
)
def test_left_alone_when_something_is_not_constant(
    rewrite: Rewrite, weight: str, extra: str, reason: str
) -> None:
    outcome = rewrite(
        "fold-bn-into-conv",
        after=None,
        before=f"""
        g (float[1,3,8,8] x{extra}) => (float[1,4,6,6] y) <{weight}> {{
            c = Conv (x, W)   y = BatchNormalization (c, gamma, beta, mean, var) }}""",
    )
    assert reason in outcome.skips[0].reason


def test_left_alone_in_double_precision(rewrite: Rewrite) -> None:
    double = BN.replace("float", "double")
    outcome = rewrite(
        "fold-bn-into-conv",
        rtol=None,
        after=None,
        before=f"""
        g (double[1,3,8,8] x) => (double[1,4,6,6] y) <double[4,3,3,3] W, {double}> {{
            c = Conv (x, W)   y = BatchNormalization (c, gamma, beta, mean, var) }}""",
    )
    assert "not float32" in outcome.skips[0].reason


def test_left_alone_in_training_and_without_variance(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "fold-bn-into-conv",
        after=None,
        rtol=None,
        before=f"""
        g (float[1,3,8,8] x) => (float[1,4,6,6] y, float[1,4,6,6] z)
            <float[4,3,3,3] W, {BN}, float[4] none = {{-1.0, 1.0, 1.0, 1.0}}> {{
            c = Conv (x, W)   y, m, v = BatchNormalization <training_mode = 1> (c, gamma, beta, mean, var)
            d = Conv (x, W)   z = BatchNormalization (d, gamma, beta, mean, none) }}""",
    )
    assert ["training" in outcome.skips[0].reason, "divides" in outcome.skips[1].reason] == [True, True]


def test_inside_bodies_and_functions(rewrite: Rewrite) -> None:
    rest = "else_branch = e () => (float[1,4,6,6] q) { q = Conv (x, W) }"
    rewrite(
        "fold-bn-into-conv",
        before=f"""g (bool b, float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] W, {BN}> {{
            y = If (b) <then_branch = t () => (float[1,4,6,6] p) {{
                c = Conv (x, W)  p = BatchNormalization (c, gamma, beta, mean, var) }}, {rest}> }}""",
        after=f"""g (bool b, float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] W> {{
            y = If (b) <then_branch = t () => (float[1,4,6,6] p)
                <float[4,3,3,3] V = {{{", ".join(["0"] * 108)}}}, float[4] s = {{0, 0, 0, 0}}> {{
                p = Conv (x, V, s) }}, {rest}> }}""",
    )


def test_a_conv_outside_the_body_stays_outside(rewrite: Rewrite) -> None:
    rewrite(
        "fold-bn-into-conv",
        after=None,
        before=f"""
        g (bool b, float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] W, {BN}> {{
            c = Conv (x, W)
            y = If (b) <
                then_branch = t () => (float[1,4,6,6] p) {{
                    p = BatchNormalization (c, gamma, beta, mean, var) }},
                else_branch = e () => (float[1,4,6,6] q) {{ q = Conv (x, W) }}> }}""",
    )


FUNCTION = """
    <ir_version: 10, opset_import: ["" : 21, "local" : 1]>
    g (float[1,1,2,2] x) => (float[1,1,2,2] y) {{ y = local.block <e = 0.5> (x) }}
    <domain: "local", opset_import: ["" : 21]>
    block <e> (a) => (b) {{
        w = Constant <value = float[1,1,1,1] {{3.0}}> ()   c = Conv (a, w)
        s = Constant <value = float[1] {{2.0}}> ()   {}
    }}"""


def test_a_function_gets_constant_nodes(rewrite: Rewrite) -> None:
    model = rewrite(
        "fold-bn-into-conv",
        before=FUNCTION.format("b = BatchNormalization (c, s, s, s, s)"),
        after=FUNCTION.format("b = Conv (a, w, s)").replace("c = Conv (a, w)", ""),
    ).model
    assert not model.graph.initializers


def test_an_attribute_that_the_caller_decides_is_unknown(rewrite: Rewrite) -> None:
    bn = "b = BatchNormalization <epsilon: float = @e> (c, s, s, s, s)"
    outcome = rewrite("fold-bn-into-conv", before=FUNCTION.format(bn), after=None)
    assert "parameters of a function" in outcome.skips[0].reason
