"""fuse-hard-sigmoid: the clamps of PyTorch, TensorFlow, Paddle and Keras."""

from collections.abc import Callable

import numpy as np
import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

X = np.linspace(-6, 6, 25, dtype=np.float32)
SPELLINGS = {
    "clip, div": "a = Add (x, three) c = Clip (a, zero, six) y = Div (c, six)",
    "clip, mul": "a = Add (three, x) c = Clip (a, zero, six) y = Mul (sixth, c)",
    "unit clip": "m = Mul (x, sixth) a = Add (m, half) y = Clip (a, zero, one)",
    "unit clip of a quotient": "m = Div (x, six) a = Add (m, half) y = Clip (a, zero, one)",
    "relu, min": "a = Add (x, three) r = Relu (a) c = Min (r, six) y = Div (c, six)",
    "max, min": "a = Add (x, three) r = Max (zero, a) c = Min (six, r) y = Div (c, six)",
}


def graph(body: str) -> str:
    numbers = """<float zero = {0.0}, float one = {1.0}, float three = {3.0}, float six = {6.0},
        float half = {0.5}, float sixth = {0.16666667}, float fifth = {0.2}, float two = {2.0}>"""
    return f"g (float[25] x) => (float[25] y) {numbers} {{ {body} }}"


@pytest.mark.parametrize("body", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings(rewrite: Rewrite, body: str) -> None:
    after = graph("y = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)")
    rewrite("fuse-hard-sigmoid", before=graph(body), after=after, feeds={"x": X})


def test_slope_of_keras(rewrite: Rewrite) -> None:
    before = graph("m = Mul (fifth, x) a = Add (m, half) y = Clip (a, zero, one)")
    after = graph("y = HardSigmoid <alpha = 0.2, beta = 0.5> (x)")
    rewrite("fuse-hard-sigmoid", before=before, after=after, feeds={"x": X})


@pytest.mark.parametrize(
    "body",
    [
        "y = Clip (x, zero, one)",
        "m = Mul (x, two) a = Add (m, half) y = Clip (a, zero, one)",
        "a = Add (x, three) c = Clip (a, one, six) y = Div (c, six)",
        "a = Add (x, three) c = Clip (a, zero, six) y = Div (c, two)",
        "a = Add (x, two) c = Clip (a, zero, six) y = Div (c, six)",
        "a = Add (x, three) c = Clip (a, zero) y = Div (c, six)",
        "a = Add (x, three) c = Clip (a, zero, six) d = Div (c, six) y = Add (c, d)",
    ],
)
def test_other_clamps_stay(rewrite: Rewrite, body: str) -> None:
    rewrite("fuse-hard-sigmoid", before=graph(body), after=None)
