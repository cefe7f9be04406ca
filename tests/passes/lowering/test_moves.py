"""Operators that move codes."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.evaluate.integer_only import float_tensors
from onnxq.passes.lowering.integer.movement import wide_moves
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

from .fake_quantizer import Scheme

Lower = Callable[..., onnx.ModelProto]

MOVES = {
    "MaxPool": (
        "float[1,2,3,3] y",
        "y = MaxPool <kernel_shape = [2,2], strides = [2,2], pads = [0,0,1,1]> (x)",
    ),
    "MaxPool, overlapping": (
        "float[1,2,3,5] y",
        "y = MaxPool <kernel_shape = [3,3], strides = [2,1], pads = [1,1,1,1]> (x)",
    ),
    "MaxPool, of one column": ("float[1,2,2,5] y", "y = MaxPool <kernel_shape = [2,1], strides = [2,1]> (x)"),
    "MaxPool, of one row": ("float[1,2,5,2] y", "y = MaxPool <kernel_shape = [1,3], strides = [1,2]> (x)"),
    "MaxPool, dilated": ("float[1,2,3,1] y", "y = MaxPool <kernel_shape = [2,3], dilations = [2,2]> (x)"),
    "MaxPool, ceil": (
        "float[1,2,3,3] y",
        "y = MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (x)",
    ),
    "Reshape": ("float[2,25] y", "y = Reshape (x, shape)"),
    "Flatten": ("float[1,50] y", "y = Flatten (x)"),
    "Transpose": ("float[5,1,2,5] y", "y = Transpose <perm = [3,0,1,2]> (x)"),
    "Slice": ("float[1,2,4,5] y", "y = Slice (x, from, to, two)"),
    "Split": ("float[1,1,5,5] y, float[1,1,5,5] z", "y, z = Split <axis = 1, num_outputs = 2> (x)"),
    "Pad": ("float[1,2,6,7] y", "y = Pad (x, pads)"),
    "Gather": ("float[1,2,3,5] y", "y = Gather <axis = 2> (x, rows)"),
    "Resize by sizes": ("float[1,2,10,15] y", 'y = Resize <mode = "nearest"> (x, , , sizes)'),
    "Resize by scales": ("float[1,2,10,15] y", 'y = Resize <mode = "nearest"> (x, , f_scales)'),
    "Resize of an open shape": ("float[1,2,5,10] y", 'y = Resize <mode = "nearest"> (x, , f_wider)'),
    "GlobalMaxPool": ("float[1,2,1,1] y", "y = GlobalMaxPool (x)"),
    "ReduceMax": ("float[1,2,1,1] y", "y = ReduceMax (x, spatial)"),
    "DepthToSpace": ("float[1,2,5,5] y", "_t = Transpose <perm = [0,1,2,3]> (x) y = Identity (_t)"),
    "a rescaled MaxPool": (
        "float[1,2,2,2] y",
        "_m = MaxPool <kernel_shape = [2,2], strides = [2,2], pads = [0,0,0,0]> (x) y = Relu (_m)",
    ),
}
CONSTANTS = """<int64[2] shape = {2, 25}, int64[1] from = {1}, int64[1] to = {5}, int64[1] two = {2},
    int64[8] pads = {0, 0, 1, 0, 0, 0, 0, 2}, int64[3] rows = {4, 0, 0}, int64[4] sizes = {1, 2, 10, 15},
    float[4] f_wider = {1.0, 1.0, 1.0, 2.0},
    float[4] f_scales = {1.0, 1.0, 2.0, 3.0}, int64[2] spatial = {2, 3}>"""


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", MOVES)
def test_move_runs_on_codes(lower: Lower, name: str, dtype: str) -> None:
    outputs, body = MOVES[name]
    lower(f"g (float[1,2,5,5] x) => ({outputs}) {CONSTANTS} {{ {body} }}", scheme=Scheme(dtype=dtype))


def test_moves_without_qdq_between_them(lower: Lower) -> None:
    """As layout operators at the end of a network are often left."""
    model = lower("""
        g (float[1,2,4,4] x) => (float[1,8] y) <int64[2] shape = {1, 8}> {
            _m = MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (x)
            y = Reshape (_m, shape)
        }""")
    assert [node.op_type for node in model.graph.node] == ["MaxPool", "Reshape"]


@pytest.mark.parametrize(
    ("dialect", "ceil", "fewest", "expected"),
    [
        (Dialect.FAST, 0, 72, {"Slice", "Max"}),
        (Dialect.FAST, 0, 73, {"MaxPool"}),
        (Dialect.FAST, 1, 0, {"MaxPool"}),
        (Dialect.FAST, 0, -1, {"MaxPool"}),
        (Dialect.PORTABLE, 0, 0, {"MaxPool"}),
        (Dialect.INT32, 0, 0, {"MaxPool"}),
    ],
)
def test_max_pool_is_sliced_where_that_is_faster(
    lower: Lower,
    monkeypatch: pytest.MonkeyPatch,
    dialect: Dialect,
    ceil: int,
    fewest: int,
    expected: set[str],
) -> None:
    """Of 18 numbers for each image, four comparisons each; below zero: the window is too long."""
    monkeypatch.setattr(wide_moves, "FEWEST", max(fewest, 0))
    if fewest < 0:
        monkeypatch.setattr(wide_moves, "MOST_SLICES", 3)
    body = f"y = MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = {ceil}> (x)"
    text = f"g (float[N,2,6,6] x) => (float[N,2,3,3] y) {{ {body} }}"
    model = lower(text, lowering=LowerInteger(dialect=dialect))
    assert {node.op_type for node in model.graph.node} == expected


def test_shapes_and_indices_are_read_from_codes(lower: Lower) -> None:
    model = lower("""
        g (float[2,6] x, float[12] b) => (float[2,6] y, int64[2] best) {
            r = Relu (x)
            s = Shape (r)
            y = Reshape (b, s)
            best = ArgMax <axis = 1, keepdims = 0> (r)
        }""")
    assert {node.op_type for node in model.graph.node} == {"Cast", "Gather", "Shape", "Reshape", "ArgMax"}


def test_bodies_read_the_codes_of_the_outer_graph(onnx_text: Callable[..., ir.Model]) -> None:
    text = """
        g (float[2,4] x, bool which) => (float[2,4] y)
          <float s = {0.1}, uint8 z = {128}, float spare = {1.0}> {
            q = QuantizeLinear (x, s, z)
            d = DequantizeLinear (q, s, z)
            r = If (which) <
                then_branch = a () => (uint8[2,4] v) { e = Exp (d) v = QuantizeLinear (e, s, z) },
                else_branch = b () => (uint8[2,4] w) { f = Relu (d) w = QuantizeLinear (f, s, z) }
            >
            y = DequantizeLinear (r, s, z)
        }"""
    qdq = Session(onnx_text(text), optimize=False)
    strict = LowerInteger().run(onnx_text(text), Context()).model
    assert float_tensors(strict) == []
    codes = np.arange(100, 140, 5).astype(np.uint8).reshape(2, 4)
    real = (codes.astype(np.float32) - 128) * np.float32(0.1)
    for which in (True, False):
        expected = qdq.run({"x": real, "which": np.asarray(which)})["y"]
        got = Session(strict, optimize=False).run({"x": codes, "which": np.asarray(which)})["y"]
        np.testing.assert_array_equal((got.astype(np.float32) - 128) * np.float32(0.1), expected)
