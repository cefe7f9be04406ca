"""Rows times weights are the node's output, as ONNX Runtime computes it."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.rounding.sites import Site, find_site, linear_nodes
from onnxq.rounding.windows import pick
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

CONV = """g (float[{shape}] x) => (float[{rank}] y)
    <float[{weight}] W, float scale = {{0.01}}, int8 zero = {{0}}> {{
    q = QuantizeLinear (W, scale, zero)
    d = DequantizeLinear (q, scale, zero)
    y = {op} <{attributes}> (x, d)
}}"""


@pytest.mark.parametrize(
    ("op", "shape", "weight", "attributes"),
    [
        ("Conv", "2,4,7,9", "6,4,3,2", ""),
        ("Conv", "1,4,8,7", "6,2,3,3", "group = 2, pads = [1,0,2,1], strides = [2,1]"),
        ("Conv", "1,5,9,9", "5,1,3,3", "group = 5, dilations = [2,1], pads = [2,1,2,1]"),
        ("Conv", "1,3,8,7", "2,3,3,4", "auto_pad = 'SAME_UPPER', strides = [2,2]"),
        ("Conv", "1,3,8,7", "2,3,4,3", "auto_pad = 'SAME_LOWER', strides = [1,2]"),
        ("Conv", "1,3,8,7", "2,3,4,3", "auto_pad = 'VALID'"),
        ("Conv", "2,3,11", "4,3,5", "pads = [2,2], strides = [3]"),
        ("Conv", "1,2,4,5,6", "3,2,2,3,2", "pads = [0,1,0,1,1,1]"),
        ("MatMul", "2,3,5", "5,4", ""),
        ("Gemm", "6,5", "5,4", ""),
        ("Gemm", "6,5", "4,5", "transB = 1"),
    ],
)
def test_rows_times_weights_are_the_output(
    op: str, shape: str, weight: str, attributes: str, onnx_text: Text
) -> None:
    rank = ",".join("abcdef"[: shape.count(",") + 1])
    text = CONV.format(op=op, shape=shape, rank=rank, weight=weight, attributes=attributes)
    model = onnx_text(text.replace("'", '"').replace("<>", ""))
    site = find_site(next(linear_nodes(model)), model)
    assert isinstance(site, Site)
    x = np.random.default_rng(0).standard_normal([int(n) for n in shape.split(",")]).astype(np.float32)
    made = Session(model, optimize=False, extra_outputs=["d"]).run({"x": x}, ["y", "d"])
    for count in (10**6, 5):
        picked = pick(site, x.shape, count, (1, 2))
        rows, outputs = picked.inputs(x), picked.outputs(made["y"])
        found = np.einsum("gnk,rgk->rgn", site.matrices(made["d"]), rows)
        np.testing.assert_allclose(found, outputs, rtol=1e-4, atol=1e-4)
        assert len(rows) == min(count, made["y"].size // outputs[0].size)
    np.testing.assert_array_equal(site.layout(site.matrices(site.weight)), site.weight)
