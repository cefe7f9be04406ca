"""Functions dissolve; what they compute does not change, and no name is used twice."""

from collections import Counter
from collections.abc import Callable

import onnx_ir as ir
import pytest

from onnxq.errors import ModelError
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.inline_functions import InlineFunctions
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context

Rewrite = Callable[..., Outcome]
BRANCHES = """then_branch = t () => (float[2] k) { k = f.Id (x) },
    else_branch = e () => (float[2] m) { m = Neg (x) }"""
HEAD = '<ir_version: 10, opset_import: ["": 21, "f": 1]>'


def test_nested_calls_with_attributes_and_clashing_names(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "inline-functions",
        before=f"""{HEAD} g (float[2] x) => (float[2] y) {{
            t = f.Twice (x)
            u = f.Leak <slope = 0.5> (t)
            y = f.Leak (u)
        }}
        <domain: "f", opset_import: ["": 21, "f": 1]> Twice (a) => (b) {{ t = f.Leak (a) b = Add (t, t) }}
        <domain: "f", opset_import: ["": 21]> Leak <slope: float = 0.125> (a) => (t) {{
            t = LeakyRelu <alpha: float = @slope> (a)
        }}""",
        after="""g (float[2] x) => (float[2] y) {
            a = LeakyRelu <alpha = 0.125> (x)
            b = Add (a, a)
            c = LeakyRelu <alpha = 0.5> (b)
            y = LeakyRelu <alpha = 0.125> (c)
        }""",
    )
    assert not outcome.model.functions


def test_bodies_that_are_inlined_twice_get_names_of_their_own(rewrite: Rewrite) -> None:
    body = BRANCHES.replace("f.Id", "Relu")
    first = body.replace(" k", " k_2")
    second = body.replace("(x", "(u").replace(" k", " k_3").replace(" m", " m_2")
    function = body.replace("(x", "(a")
    outcome = rewrite(
        "inline-functions",
        before=f"""{HEAD} g (float[2] x, bool c) => (float[2] y) {{ k = f.Pick (x, c) y = f.Pick (k, c) }}
        <domain: "f", opset_import: ["": 21]> Pick (a, c) => (b) {{ b = If (c) <{function}> }}""",
        after=f"g (float[2] x, bool c) => (float[2] y) {{ u = If (c) <{first}> y = If (c) <{second}> }}",
    )
    names = Counter(value.name for node in all_nodes(outcome.model) for value in node.outputs)
    assert set(names.values()) == {1}


def test_calls_in_bodies_and_functions_that_nobody_calls(rewrite: Rewrite) -> None:
    outcome = rewrite(
        "inline-functions",
        before=f"""{HEAD} g (float[2] x, bool c) => (float[2] y) {{ y = If (c) <{BRANCHES}> }}
        <domain: "f", opset_import: ["": 21]> Id (a) => (b) {{ b = Relu (a) }}
        <domain: "f", opset_import: ["": 21]> Idle (a) => (b) {{ b = Neg (a) }}""",
        after=f"g (float[2] x, bool c) => (float[2] y) {{ y = If (c) <{BRANCHES.replace('f.Id', 'Relu')}> }}",
    )
    assert not outcome.model.functions


def test_a_model_without_functions_is_left_alone(rewrite: Rewrite) -> None:
    rewrite("inline-functions", before="g (float[2] x) => (float[2] y) { y = Relu (x) }", after=None)


@pytest.mark.parametrize(
    ("functions", "says"),
    [
        (
            """<domain: "f", opset_import: ["": 21, "f": 1]> A (a) => (b) { b = f.B (a) }
            <domain: "f", opset_import: ["": 21, "f": 1]> B (a) => (b) { b = f.A (a) }""",
            "[Cc]ycl",
        ),
        ('<domain: "f", opset_import: ["": 13]> A (a) => (b) { b = Relu (a) }', r"21.*13.*raise-opset"),
    ],
)
def test_circles_and_other_opsets_are_refused(
    onnx_text: Callable[..., ir.Model], functions: str, says: str
) -> None:
    model = onnx_text(f"{HEAD} g (float[2] x) => (float[2] y) {{ y = f.A (x) }} {functions}")
    with pytest.raises(ModelError, match=f"cannot be inlined: .*{says}"):
        InlineFunctions().run(model, Context())
