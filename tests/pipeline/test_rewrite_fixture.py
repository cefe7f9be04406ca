"""The ``rewrite`` fixture is what all tests of passes trust: it must notice each kind of lie."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

IDENTITY = "g (float[N,3] x) => (float[N,3] y) { a = Identity (x)  y = Relu (a) }"
RELU = "g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }"
SCALED = "g (float[2] x) => (float[2] y) <float s = {2.0}> { y = Mul (x, s) }"


def test_accepts_an_honest_rewriting_and_gives_the_model(rewrite: Rewrite) -> None:
    outcome = rewrite("test-bypass-identity", before=IDENTITY, after=RELU)
    assert outcome.edits == 1
    assert [node.op_type for node in outcome.model.graph] == ["Relu"]


def test_accepts_that_nothing_changes(rewrite: Rewrite) -> None:
    rewrite("test-nothing", before=IDENTITY, after=None)


def test_notices_another_structure(rewrite: Rewrite) -> None:
    with pytest.raises(AssertionError, match="Identity"):
        rewrite("test-nothing", before=IDENTITY, after=RELU)
    with pytest.raises(AssertionError, match="must leave this graph alone"):
        rewrite("test-bypass-identity", before=IDENTITY, after=None)


def test_notices_other_values(rewrite: Rewrite) -> None:
    with pytest.raises(AssertionError, match="output 'y'"):
        rewrite("test-scale-exact", before=SCALED, after=SCALED)


def test_notices_that_a_second_run_edits(rewrite: Rewrite) -> None:
    twice = "g (float[3] x) => (float[3] y) { a = Identity (x)  b = Identity (a)  y = Relu (b) }"
    once = "g (float[3] x) => (float[3] y) { b = Identity (x)  y = Relu (b) }"
    with pytest.raises(AssertionError, match="second run"):
        rewrite("test-bypass-identity", before=twice, after=once)
    rewrite(
        "repeat(test-bypass-identity)", before=twice, after="g (float[3] x) => (float[3] y) { y = Relu (x) }"
    )


def test_takes_whole_models_with_functions_and_undeclared_weights(rewrite: Rewrite) -> None:
    rewrite(
        "test-nothing",
        before="""
        <ir_version: 10, opset_import: ["" : 21, "local" : 1]>
        g (float[2,4] x) => (float[2,3] y) <float[4,3] W, float[3] var> {
            a = MatMul (x, W)
            b = Div (a, var)
            y = local.twice (b)
        }
        <domain: "local", opset_import: ["" : 21]>
        twice (x) => (y) { y = Add (x, x) }""",
        after=None,
    )
