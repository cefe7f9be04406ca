"""fuse-hard-swish: every order of the factors, and what only looks like it."""

from collections.abc import Callable

import numpy as np
import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

X = np.linspace(-6, 6, 25, dtype=np.float32)
CLAMP = "a = Add (x, three) c = Clip (a, zero, six) "
SPELLINGS = {
    "hard sigmoid": "h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul (h, x)",
    "quotient of the product": CLAMP + "m = Mul (x, c) y = Div (m, six)",
    "product with the quotient": CLAMP + "d = Div (c, six) y = Mul (d, x)",
    "sixth of the product": CLAMP + "m = Mul (c, x) y = Mul (m, sixth)",
    "sixth of the input": CLAMP + "m = Mul (x, sixth) y = Mul (m, c)",
    "unit clip": "m = Mul (x, sixth) a = Add (m, half) c = Clip (a, zero, one) y = Mul (x, c)",
    "relu, min": "a = Add (x, three) r = Relu (a) c = Min (r, six) m = Mul (x, c) y = Div (m, six)",
    "float16 sixth": CLAMP + "m = Mul (x, c) y = Mul (m, sixth_half)",
}


def graph(body: str) -> str:
    numbers = """<float zero = {0.0}, float one = {1.0}, float three = {3.0}, float six = {6.0},
        float half = {0.5}, float sixth = {0.16666667}, float sixth_half = {0.1666259765625}>"""
    return f"g (float[25] x, float[25] z) => (float[25] y) {numbers} {{ {body} }}"


@pytest.mark.parametrize(("name", "body"), SPELLINGS.items(), ids=SPELLINGS)
def test_spellings(rewrite: Rewrite, name: str, body: str) -> None:
    rtol = 2.5e-4 if "float16" in name else 1e-5
    rewrite(
        "fuse-hard-swish", before=graph(body), after=graph("y = HardSwish (x)"), feeds={"x": X}, rtol=rtol
    )


def test_both_passes_in_either_order(rewrite: Rewrite) -> None:
    for pipeline in ("fuse-hard-swish, fuse-hard-sigmoid", "fuse-hard-sigmoid, fuse-hard-swish"):
        rewrite(
            pipeline, before=graph(SPELLINGS["product with the quotient"]), after=graph("y = HardSwish (x)")
        )


@pytest.mark.parametrize(
    "body",
    [
        "h = HardSigmoid <alpha = 0.2, beta = 0.5> (x) y = Mul (h, x)",
        "h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul (h, z)",
        CLAMP + "m = Mul (x, c) y = Div (m, three)",
        CLAMP + "m = Mul (x, c) n = Div (m, six) y = Add (n, c)",
    ],
)
def test_what_is_no_hard_swish(rewrite: Rewrite, body: str) -> None:
    rewrite("fuse-hard-swish", before=graph(body), after=None)
