"""choose-integer-types: the reader decides, joined tensors agree, the border keeps its types."""

from collections.abc import Callable

import pytest

from onnxq.pipeline.base import Outcome

Rewrite = Callable[..., Outcome]

CONSTANTS = "float s = {0.1}, uint8 z = {28}, int8 i = {-100}, uint8 u = {128}, int8 o = {0}"

NET = f"""g (float[1,2,4,4] x) => (float[1,3] y)
    <{CONSTANTS}, float[2,2,1,1] w, float[4,3] v, int64[2] to = {{1, 4}}> {{
    x_q = QuantizeLinear (x, s, z)
    x_d = DequantizeLinear (x_q, s, z)
    a = Relu (x_d)
    a_q = QuantizeLinear (a, s, KEPT)
    a_d = DequantizeLinear (a_q, s, KEPT)
    p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (a_d)
    p_q = QuantizeLinear (p, s, KEPT)
    p_d = DequantizeLinear (p_q, s, KEPT)
    c = Conv <strides = [2,2]> (p_d, w)
    e = Concat <axis = 1> (c, c)
    c_q = QuantizeLinear (e, s, LEFT)
    c_d = DequantizeLinear (c_q, s, LEFT)
    f = Reshape (c_d, to)
    m = MatMul (f, v)
    m_q = QuantizeLinear (m, s, z)
    y = DequantizeLinear (m_q, s, z)
}}"""

WANTED = {"fast": ("i", "z"), "portable": ("z", "z"), "int32": ("i", "i")}


@pytest.mark.parametrize("dialect", WANTED)
@pytest.mark.parametrize("given", ["z", "i"])
def test_readers_decide(rewrite: Rewrite, dialect: str, given: str) -> None:
    """The pool's tensors follow the Conv behind it; what crosses the border stays uint8."""

    def net(kept: str, left: str) -> str:
        return NET.replace("KEPT", kept).replace("LEFT", left)

    before, after = net(given, given), net(*WANTED[dialect])
    rewrite(f"choose-integer-types{{dialect={dialect}}}", before, None if before == after else after)


READ = f"""g (float[1,2,4,4] x) => (float[1,2,4,4] y, uint8[1,2,4,4] r_q) <{CONSTANTS}, float[2,2,1,1] w> {{
    r = Exp (x)
    r_q = QuantizeLinear (r, s, z)
    r_d = DequantizeLinear (r_q, s, z)
    y = Conv (r_d, w)
}}"""


def test_codes_that_something_else_reads_keep_their_type(rewrite: Rewrite) -> None:
    rewrite("choose-integer-types", READ, None)
    rewrite(
        "choose-integer-types", READ.replace(", uint8[1,2,4,4] r_q", "").replace("(r, s, z)", "(r, s)"), None
    )
