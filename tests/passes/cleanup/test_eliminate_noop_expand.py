"""eliminate-noop-expand: Expand of JAX, PyTorch and TensorFlow exports, and those that do something."""

from collections.abc import Callable

import numpy as np
import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

CONSTANTS = "<int64[1] zero = {0}, int64[1] one = {1}, int64[2] tail = {4, 6}>"
MEAN = "m = ReduceMean (x, one) "
BATCH = "s = Shape (x) n = Gather (s, zero) "


def graph(body: str, declared: str = CONSTANTS) -> str:
    return f"g (float[N,4,6] x, float[M,1,6] z) => (float[A,B,C] y) {declared} {{ {body} }}"


FEEDS = {"x": np.ones((3, 4, 6), np.float32), "z": np.ones((1, 1, 6), np.float32)}


@pytest.mark.parametrize(
    ("body", "after"),
    [
        (
            MEAN + "s = Shape (x) e = Expand (m, s) y = Sub (x, e)",
            MEAN + "y = Sub (x, m)",
        ),
        (
            MEAN + "" + BATCH + "t = Concat <axis = 0> (n, one, one) e = Expand (m, t) y = Exp (e)",
            MEAN + "y = Exp (m)",
        ),
    ],
    ids=["the reader broadcasts", "nothing is repeated"],
)
def test_goes(rewrite: Rewrite, body: str, after: str) -> None:
    rewrite(
        "eliminate-noop-expand, eliminate-dead-nodes", before=graph(body), after=graph(after), feeds=FEEDS
    )


@pytest.mark.parametrize(
    "body",
    [
        MEAN + "s = Shape (x) e = Expand (m, s) y = Exp (e)",
        "s = Shape (x) e = Expand (z, s) m = ReduceMean (x, one) y = Sub (m, e)",
        "s = Shape (x) y = Expand (z, s)",
        BATCH + "t = Concat <axis = 0> (n, tail) e = Expand (z, t) y = Add (e, z)",
    ],
    ids=["the reader does not broadcast", "the other operand is smaller", "an output", "another open axis"],
)
def test_stays(rewrite: Rewrite, body: str) -> None:
    rewrite("eliminate-noop-expand", before=graph(body), after=None, feeds=FEEDS)
