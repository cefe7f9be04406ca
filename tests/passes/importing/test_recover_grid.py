"""recover-grid: scales of dequantized weights, exactly, or nothing."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxq.graph.match import constant
from onnxq.graph.numeric import FloatArray
from onnxq.graph.scopes import all_nodes
from onnxq.passes.importing.recover_grid import RecoverGrid
from onnxq.pipeline.base import Outcome
from onnxq.pipeline.context import Context
from onnxq.quant.grid import find_grid, weight_grid

RNG = np.random.default_rng(11)
Rewrite = Callable[..., Outcome]


def net(weight: FloatArray) -> ir.Model:
    """A convolution with that weight."""
    rows = ir.Value(name="w", const_value=ir.tensor(weight), type=ir.TensorType(ir.DataType.FLOAT))
    rows.shape = ir.Shape(weight.shape)
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, weight.shape[1], 8, 8]))
    conv = ir.Node("", "Conv", [x, rows], name="conv")
    conv.outputs[0].name, conv.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [conv.outputs[0]], nodes=[conv], initializers=[rows], opset_imports={"": 19})
    return ir.Model(graph, ir_version=9)


@settings(max_examples=60)
@given(scale=st.floats(0.0009765625, 8, width=32), limit=st.integers(1, 255), seed=st.integers(0, 9999))
def test_codes_times_scale_are_found_and_give_every_weight(scale: float, limit: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(-limit, limit + 1, 90)
    weights = codes.astype(np.float32) * np.float32(scale)
    found = find_grid(weights)
    assert found is not None
    np.testing.assert_array_equal(found.codes.astype(np.float32) * found.scale, weights)
    divisor = np.gcd.reduce(codes)
    np.testing.assert_array_equal(found.codes, codes // max(divisor, 1))


def test_weights_between_the_steps_are_left_alone() -> None:
    """Random ones, and codes moved by a hundredth of a step."""
    codes = RNG.integers(-127, 128, (4, 30))
    weights = codes.astype(np.float32) * np.float32(0.013)
    moved = weights + RNG.uniform(-1e-4, 1e-4, weights.shape).astype(np.float32)
    assert weight_grid(RNG.normal(size=(4, 30)).astype(np.float32), 0) is None
    assert weight_grid(moved.astype(np.float32), 0) is None
    assert weight_grid(np.full((4, 30), 0.3, np.float32), 0) is None, "one magnitude proves nothing"


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_dequantized_weight_gets_its_pair(per_channel: bool) -> None:
    codes = RNG.integers(-127, 128, (4, 3, 3, 3))
    codes[:, 0, 0, 0] = 127
    scale = np.array([0.013, 0.5, 0.002, 0.07], np.float32)[:, None, None, None]
    weight = codes.astype(np.float32) * (scale if per_channel else np.float32(0.013))
    model = net(weight)
    done = RecoverGrid().run(model, Context())
    assert [node.op_type for node in all_nodes(model)] == ["QuantizeLinear", "DequantizeLinear", "Conv"]
    found = constant(model.graph[0].inputs[1])
    np.testing.assert_array_equal(found, scale.reshape(-1) if per_channel else np.float32(0.013))
    assert done.modified
    assert not RecoverGrid().run(model, Context()).modified


def test_uint8_weights_with_a_zero_point() -> None:
    """Codes 0 … 255 round a zero point of 151, as TensorFlow's first quantized models have them."""
    codes = RNG.integers(0, 256, (8, 3, 3, 3))
    codes.reshape(-1)[:2] = 0, 255
    model = net((codes - 151).astype(np.float32) * np.float32(0.021))
    RecoverGrid().run(model, Context())
    zero_point = constant(model.graph[0].inputs[2])
    assert zero_point is not None
    assert (zero_point.dtype.name, int(zero_point)) == ("uint8", 151)
