"""fuse-gelu: every spelling of both forms, and what only looks like one."""

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.pipeline.runner import run_pipeline
from onnxq.pipeline.spec import parse

Rewrite = Callable[..., Outcome]

NUMBERS = """<float one = {1.0}, float half = {0.5}, float two = {2.0}, float three = {3.0},
    float root2 = {1.41421356}, float inv = {0.70710678}, float root2_half = {1.4140625},
    float wrong = {0.71}, float c = {0.7978845608}, float c2 = {1.5957691216}, float k = {0.044715},
    float k2 = {0.0356774081}, float[1,1,1] wide = {0.5}>"""

ERF = {
    "torch": "d = Div (x, root2) e = Erf (d) a = Add (e, one) m = Mul (x, a) y = Mul (m, half)",
    "half first": "h = Mul (x, half) d = Mul (x, inv) e = Erf (d) a = Add (one, e) y = Mul (h, a)",
    "halved sum": "d = Mul (inv, x) e = Erf (d) a = Add (e, one) s = Mul (a, half) y = Mul (s, x)",
    "divided by two": "d = Div (x, root2) e = Erf (d) a = Add (e, one) m = Mul (a, x) y = Div (m, two)",
    "multiplied out": "d = Div (x, root2) e = Erf (d) p = Mul (x, e) s = Add (x, p) y = Mul (half, s)",
    "through an identity": "d = Div (x, root2) e = Erf (d) a = Add (e, one) i = Identity (a) m = Mul (x, i) "
    "y = Mul (m, half)",
}
TANH = {
    "pow": "q = Pow (x, three) r = Mul (q, k) s = Add (x, r) t = Mul (s, c) e = Tanh (t) a = Add (e, one) "
    "m = Mul (x, a) y = Mul (m, half)",
    "products": "q = Mul (x, x) r = Mul (q, x) u = Mul (k, r) s = Add (x, u) t = Mul (c, s) e = Tanh (t) "
    "a = Add (one, e) h = Mul (half, x) y = Mul (h, a)",
    "factored": "q = Mul (x, x) r = Mul (q, k2) s = Add (r, c) t = Mul (x, s) e = Tanh (t) a = Add (e, one) "
    "m = Mul (x, a) y = Mul (m, half)",
    "sigmoid": "q = Pow (x, three) r = Mul (q, k) s = Add (x, r) t = Mul (s, c2) e = Sigmoid (t) "
    "y = Mul (x, e)",
}
OTHER = {
    "another argument": "d = Mul (x, wrong) e = Erf (d) a = Add (e, one) m = Mul (x, a) y = Mul (m, half)",
    "another gate": "d = Mul (x, inv) e = Erf (d) a = Add (e, one) m = Mul (z, a) y = Mul (m, half)",
    "another factor": "d = Mul (x, inv) e = Erf (d) a = Add (e, one) y = Mul (x, a)",
    "a number that adds an axis": "d = Mul (x, inv) e = Erf (d) a = Add (e, one) m = Mul (x, a) "
    "y = Mul (m, wide)",
    "erf read elsewhere": "d = Mul (x, inv) e = Erf (d) a = Add (e, one) m = Mul (x, a) n = Mul (m, half) "
    "y = Sub (n, e)",
}


def graph(body: str, output: str = "float[2,9] y") -> str:
    return f"g (float[2,9] x, float[2,9] z) => ({output}) {NUMBERS} {{ {body} }}"


@pytest.mark.parametrize("body", ERF.values(), ids=ERF)
def test_exact_form(rewrite: Rewrite, body: str) -> None:
    rewrite("fuse-gelu", before=graph(body), after=graph("y = Gelu (x)"))


@pytest.mark.parametrize("body", TANH.values(), ids=TANH)
def test_tanh_form(rewrite: Rewrite, body: str) -> None:
    rewrite("fuse-gelu", before=graph(body), after=graph('y = Gelu <approximate = "tanh"> (x)'))


def test_numbers_rounded_to_float16(rewrite: Rewrite) -> None:
    """√2 as 1.4140625 is 1.07e-4 off, which moves Gelu by at most 1.07e-4 · max x²·φ(x) = 3.2e-5."""
    body = ERF["torch"].replace("root2", "root2_half")
    rewrite("fuse-gelu", before=graph(body), after=graph("y = Gelu (x)"), rtol=0, atol=3.3e-5)


@pytest.mark.parametrize("body", OTHER.values(), ids=OTHER)
def test_what_is_no_gelu(rewrite: Rewrite, body: str) -> None:
    output = "float[1,2,9] y" if "wide" in body else "float[2,9] y"
    rewrite("fuse-gelu", before=graph(body, output), after=None)


def test_a_shared_argument_stays(rewrite: Rewrite) -> None:
    shared = "d = Mul (x, inv)"
    rewrite(
        "fuse-gelu",
        before=graph(
            f"{shared} e = Erf (d) a = Add (e, one) m = Mul (x, a) n = Mul (m, half) y = Sub (n, d)"
        ),
        after=graph(f"{shared} n = Gelu (x) y = Sub (n, d)"),
    )


def test_inside_a_branch(rewrite: Rewrite) -> None:
    def model(body: str) -> str:
        other = "else_branch = f () => (float[2,9] w) { w = Neg (x) }"
        branches = f"then_branch = t () => (float[2,9] y) {{ {body} }}, {other}"
        return f"g (float[2,9] x, bool b) => (float[2,9] r) {NUMBERS} {{ r = If (b) <{branches}> }}"

    rewrite("fuse-gelu", before=model(ERF["torch"]), after=model("y = Gelu (x)"))


def test_the_opset_is_raised(rewrite: Rewrite) -> None:
    outcome = rewrite("fuse-gelu", before=graph(ERF["torch"]), after=graph("y = Gelu (x)"), opset=19)
    assert (outcome.model.opset_imports[""], outcome.model.ir_version) == (20, 9)


def test_value_is_that_of_the_error_function(onnx_text: Callable[..., ir.Model]) -> None:
    x = np.linspace(-5, 5, 18, dtype=np.float32).reshape(2, 9)
    model = run_pipeline(onnx_text(graph(ERF["torch"])), parse("fuse-gelu"), Context()).model
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    expected = [v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in x.ravel().tolist()]
    np.testing.assert_allclose(session.run(None, {"x": x, "z": x})[0].ravel(), expected, rtol=1e-5, atol=1e-6)
