"""push-fake-quant: pairs move, numbers stay the same to the bit."""

from collections.abc import Callable

import numpy as np
import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

X = np.linspace(-3, 3, 2 * 4 * 4, dtype=np.float32).reshape(1, 2, 4, 4)
HEAD = """g (float[1,2,4,4] x) => (float[{shape}] y) <float s = {{0.02}}, uint8 z = {{128}},
    float lo = {{-1.0}}, float hi = {{1.0}}, float odd = {{0.51}}, int8 i = {{0}},
    int64[2] flat = {{1, 32}}>"""


def graph(body: str, shape: str = "1,2,4,4") -> str:
    return f"{HEAD.format(shape=shape)} {{ {body} }}"


PAIR = "q = QuantizeLinear ({0}, s, z) d = DequantizeLinear (q, s, z)"


@pytest.mark.parametrize("node", ["Relu (d)", "Clip (d, lo, hi)"])
def test_an_activation_behind_a_pair_goes_in_front_of_it(rewrite: Rewrite, node: str) -> None:
    rewrite(
        "push-fake-quant",
        before=graph(f"{PAIR.format('x')} y = {node}"),
        after=graph(
            f"r = {node.replace('(d', '(x')} q = QuantizeLinear (r, s, z) y = DequantizeLinear (q, s, z)"
        ),
        feeds={"x": X},
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize(
    "body",
    [
        f"{PAIR.format('x')} y = Clip (d, lo, odd)",
        f"{PAIR.format('x')} r = Relu (d) y = Add (r, d)",
        f"{PAIR.format('x')} y = Sigmoid (d)",
        "y = Relu (x)",
    ],
    ids=["bound between codes", "read twice", "no order", "no pair"],
)
def test_what_would_change_numbers_stays(rewrite: Rewrite, body: str) -> None:
    rewrite("push-fake-quant", before=graph(body), after=None, feeds={"x": X})


def test_the_pair_is_repeated_behind_a_chain_of_moves(rewrite: Rewrite) -> None:
    rewrite(
        "push-fake-quant",
        before=graph(
            f"{PAIR.format('x')} m = MaxPool <kernel_shape = [1,1]> (d) f = Reshape (m, flat) y = Tanh (f)",
            "1,32",
        ),
        after=graph(
            f"""{PAIR.format("x")} m = MaxPool <kernel_shape = [1,1]> (d)
            q1 = QuantizeLinear (m, s, z) d1 = DequantizeLinear (q1, s, z) f = Reshape (d1, flat)
            q2 = QuantizeLinear (f, s, z) d2 = DequantizeLinear (q2, s, z) y = Tanh (d2)""",
            "1,32",
        ),
        feeds={"x": X},
        rtol=0,
        atol=0,
        types=True,
    )


def test_the_pair_is_repeated_in_front_of_moves(rewrite: Rewrite) -> None:
    rewrite(
        "push-fake-quant",
        before=graph(
            """a = Tanh (x) t = Transpose <perm = [0,1,3,2]> (a) q = QuantizeLinear (t, s, z)
            y = DequantizeLinear (q, s, z)"""
        ),
        after=graph(
            """a = Tanh (x) q0 = QuantizeLinear (a, s, z) d0 = DequantizeLinear (q0, s, z)
            t = Transpose <perm = [0,1,3,2]> (d0) q = QuantizeLinear (t, s, z)
            y = DequantizeLinear (q, s, z)"""
        ),
        feeds={"x": X},
        rtol=0,
        atol=0,
        types=True,
    )


def test_concat_of_equal_parameters(rewrite: Rewrite) -> None:
    both = f"{PAIR.format('x')} t = Tanh (x) u = QuantizeLinear (t, s, z) v = DequantizeLinear (u, s, z)"
    rewrite(
        "push-fake-quant",
        before=graph(f"{both} c = Concat <axis = 1> (d, v) y = Sigmoid (c)", "1,4,4,4"),
        after=graph(
            f"""{both} c = Concat <axis = 1> (d, v) r = QuantizeLinear (c, s, z)
            e = DequantizeLinear (r, s, z) y = Sigmoid (e)""",
            "1,4,4,4",
        ),
        feeds={"x": X},
        rtol=0,
        atol=0,
        types=True,
    )


def test_quantized_as_uint8_and_again_as_int8_is_once(rewrite: Rewrite) -> None:
    rewrite(
        "push-fake-quant",
        before=graph(f"{PAIR.format('x')} r = QuantizeLinear (d, s, i) y = DequantizeLinear (r, s, i)"),
        after=graph("r = QuantizeLinear (x, s, i) y = DequantizeLinear (r, s, i)"),
        feeds={"x": X},
        rtol=0,
        atol=0,
    )


def test_what_picks_among_codes_picks_among_numbers(rewrite: Rewrite) -> None:
    pool, perm = "MaxPool <kernel_shape = [1,1]>", "Transpose <perm = [0,1,3,2]>"
    rewrite(
        "push-fake-quant",
        before=graph(
            f"""q = QuantizeLinear (x, s, z) m = {pool} (q) t = {perm} (m) d = DequantizeLinear (t, s, z)
            y = Tanh (d)"""
        ),
        after=graph(
            f"""{PAIR.format("x")} m = {pool} (d) q1 = QuantizeLinear (m, s, z)
            d1 = DequantizeLinear (q1, s, z) t = {perm} (d1) q2 = QuantizeLinear (t, s, z)
            d2 = DequantizeLinear (q2, s, z) y = Tanh (d2)"""
        ),
        feeds={"x": X},
        rtol=0,
        atol=0,
        types=True,
    )
