"""Operators that move codes."""

from collections.abc import Callable

import onnx
import pytest

Lower = Callable[..., onnx.ModelProto]

MOVES = {
    "MaxPool": (
        "float[1,2,3,3] y",
        "y = MaxPool <kernel_shape = [2,2], strides = [2,2], pads = [0,0,1,1]> (x)",
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
    "ReduceMax": ("float[1,2,1,1] y", "y = ReduceMax (x, spatial)"),
    "DepthToSpace": ("float[1,2,5,5] y", "_t = Transpose <perm = [0,1,2,3]> (x) y = Identity (_t)"),
    "a rescaled MaxPool": (
        "float[1,2,2,2] y",
        "_m = MaxPool <kernel_shape = [2,2], strides = [2,2], pads = [0,0,0,0]> (x) y = Relu (_m)",
    ),
}
CONSTANTS = """<int64[2] shape = {2, 25}, int64[1] from = {1}, int64[1] to = {5}, int64[1] two = {2},
    int64[8] pads = {0, 0, 1, 0, 0, 0, 0, 2}, int64[3] rows = {4, 0, 0}, int64[4] sizes = {1, 2, 10, 15},
    float[4] f_scales = {1.0, 1.0, 2.0, 3.0}, int64[2] spatial = {2, 3}>"""


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", MOVES)
def test_move_runs_on_codes(lower: Lower, name: str, dtype: str) -> None:
    outputs, body = MOVES[name]
    lower(f"g (float[1,2,5,5] x) => ({outputs}) {CONSTANTS} {{ {body} }}", dtype=dtype)


def test_moves_without_qdq_between_them(lower: Lower) -> None:
    """As layout operators at the end of a network are often left."""
    model = lower("""
        g (float[1,2,4,4] x) => (float[1,8] y) <int64[2] shape = {1, 8}> {
            _m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)
            y = Reshape (_m, shape)
        }""")
    assert [node.op_type for node in model.graph.node] == ["MaxPool", "Reshape"]


def test_shapes_and_indices_are_read_from_codes(lower: Lower) -> None:
    model = lower("""
        g (float[2,6] x, float[12] b) => (float[2,6] y, int64[2] best) {
            r = Relu (x)
            s = Shape (r)
            y = Reshape (b, s)
            best = ArgMax <axis = 1, keepdims = 0> (r)
        }""")
    assert {node.op_type for node in model.graph.node} == {"Cast", "Gather", "Shape", "Reshape", "ArgMax"}
