"""The table of weight axes: quantizing along the axis it names costs less than along any other."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.graph.match import static_shape
from onnxq.quant.operators import bias_add, operands, weight_axis
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

CASES = {
    "Conv": ("float[1,2,5,5] x", "float[3,2,2,2] W", "Conv (x, W)", 1),
    "Conv grouped": ("float[1,4,5,5] x", "float[4,2,2,2] W", "Conv <group = 2> (x, W)", 1),
    "ConvTranspose": ("float[1,2,5,5] x", "float[2,3,2,2] W", "ConvTranspose (x, W)", 1),
    "ConvTranspose grouped": ("float[1,4,5,5] x", "float[4,3,2,2] W", "ConvTranspose <group = 2> (x, W)", 1),
    "Gemm": ("float[2,4] x", "float[4,3] W", "Gemm (x, W)", 1),
    "Gemm transB": ("float[2,4] x", "float[3,4] W", "Gemm <transB = 1> (x, W)", 1),
    "MatMul": ("float[2,5,4] x", "float[4,3] W", "MatMul (x, W)", 2),
}


@pytest.mark.parametrize("case", CASES)
def test_the_axis_is_that_of_the_output_channels(case: str, onnx_text: Text) -> None:
    """Scaling the weight along the axis must scale the output along its channels, and nothing else."""
    x, weight, call, channels = CASES[case]
    model = onnx_text(f"g ({x}) => (float[?] y) <{weight}> {{ y = {call} }}".replace("float[?]", "float[]"))
    node = model.graph[0]
    model.graph.outputs[0].shape = None
    value = node.inputs[1]
    assert value is not None
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    axis = weight_axis(node, array.ndim)
    assert axis is not None
    shape = static_shape(model.graph.inputs[0])
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    before = Session(model).run(feeds)["y"]
    factors = np.arange(2, 2 + array.shape[axis]).astype(np.float32)
    across = [-1 if i == axis else 1 for i in range(array.ndim)]
    value.const_value = ir.tensor(array * factors.reshape(across), name=value.name)
    ratio = np.moveaxis(Session(model).run(feeds)["y"] / before, channels, 0)
    wanted = np.tile(factors, ratio.shape[0] // factors.size)[:, None]
    rows = ratio.reshape(len(wanted), -1)
    np.testing.assert_allclose(rows, np.broadcast_to(wanted, rows.shape), rtol=1e-4)


def test_operands_of_products_follow_what_is_constant(onnx_text: Text) -> None:
    model = onnx_text(
        "g (float[2,4] x, float[4,4] y) => (float[2,4] z) <float[4,4] W> "
        "{ a = MatMul (x, W) z = MatMul (a, y) }"
    )
    assert operands(model.graph[0]).weight == 1
    assert operands(model.graph[1]).data == (0, 1)


@pytest.mark.parametrize(
    ("bias", "found"), [("float[3] b", True), ("float[1,3] b", True), ("float[2,1] b", False)]
)
def test_bias_add_takes_one_number_a_channel(bias: str, found: bool, onnx_text: Text) -> None:
    model = onnx_text(
        f"g (float[2,4] x) => (float[2,3] z) <float[4,3] W, {bias}> {{ a = MatMul (x, W) z = Add (b, a) }}"
    )
    assert (bias_add(model.graph[0]) is model.graph[1]) == found
