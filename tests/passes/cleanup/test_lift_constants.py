"""Constant nodes become initializers of the same name, where that is possible."""

from collections.abc import Callable

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]


def test_numbers_lists_and_tensors_become_initializers_of_the_same_name(rewrite: Rewrite) -> None:
    before = """
        g (float[N,2] x) => (float[N,2] y) {
            w = Constant <value = float[2] {1.0, -2.5}> ()
            f = Constant <value_float = 0.5> ()
            fs = Constant <value_floats = [3.0, 4.0]> ()
            i = Constant <value_int = 3> ()
            ns = Constant <value_ints = [0, -1]> ()
            a = Mul (x, w)   b = Add (a, f)   c = Mul (b, fs)
            d = Reshape (c, ns)   k = Cast <to = 1> (i)   y = Mul (d, k)
        }"""
    model = rewrite("lift-constants", before=before, after=before).model
    assert set(model.graph.initializers) == {"w", "f", "fs", "i", "ns"}
    assert "Constant" not in [node.op_type for node in model.graph]


def test_bodies_hold_their_own_initializers(rewrite: Rewrite) -> None:
    before = """
        g (bool b, float[2] x) => (float[2] y) {
            y = If (b) <
                then_branch = t () => (float[2] p) { c = Constant <value = float {2.0}> ()  p = Mul (x, c) },
                else_branch = e () => (float[2] q) { q = Constant <value = float[2] {1.0, 2.0}> () }>
        }"""
    outcome = rewrite("lift-constants", before=before, after=before)
    branches = outcome.model.graph[0].attributes
    assert list(branches["then_branch"].as_graph().initializers) == ["c"]
    assert not branches["else_branch"].as_graph().initializers, "q is an output of its graph"
    assert [skip.reason for skip in outcome.skips] == ["it is an output of its graph"]


def test_texts_and_functions_are_left_alone(rewrite: Rewrite) -> None:
    rewrite(
        "lift-constants",
        after=None,
        before="""
        g (float[1] x) => (bool[1] y, float[1] z) {
            s = Constant <value_strings = ["a"]> ()   t = Constant <value_string = "a"> ()
            y = Equal (s, t)   z = Relu (x)
        }""",
    )
    rewrite(
        "lift-constants",
        after=None,
        before="""
        <ir_version: 10, opset_import: ["" : 21, "local" : 1]>
        g (float[2] x) => (float[2] y) { y = local.double (x) }
        <domain: "local", opset_import: ["" : 21]>
        double (a) => (b) { two = Constant <value = float {2.0}> ()  b = Mul (a, two) }""",
    )
