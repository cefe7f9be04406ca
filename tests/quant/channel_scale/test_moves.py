"""What a move does to one number a channel, against the operator itself on a tensor filled with them."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.quant.channel_scale.moves import MOVES, move
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

SHAPE, KEPT = (2, 6, 4, 4), (1, 6, 1, 1)
CASES = {
    "Transpose": "y = Transpose <perm = [0,2,1,3]> (x)",
    "Reshape splits the channels": "s = Constant <value = int64[5] {2,2,3,4,4}> () y = Reshape (x, s)",
    "Reshape joins channels and rows": "s = Constant <value = int64[3] {2,24,4}> () y = Reshape (x, s)",
    "Flatten": "y = Flatten (x)",
    "Unsqueeze": "i = Constant <value = int64[2] {0,3}> () y = Unsqueeze (x, i)",
    "Slice": """b = Constant <value = int64[2] {-1,1}> () e = Constant <value = int64[2] {-7,3}> ()
        i = Constant <value = int64[2] {1,2}> () t = Constant <value = int64[2] {-2,1}> () y = Slice (x, b,
        e, i, t)""",
    "Concat": "y = Concat <axis = 1> (x, x)",
    "Gather of channels": "i = Constant <value = int64[3] {5,0,5}> () y = Gather <axis = 1> (x, i)",
    "Gather of rows": "i = Constant <value = int64[2] {3,0}> () y = Gather <axis = 2> (x, i)",
    "Tile": "r = Constant <value = int64[4] {1,2,2,1}> () y = Tile (x, r)",
    "Expand": "s = Constant <value = int64[5] {3,1,1,1,1}> () y = Expand (x, s)",
    "ReduceMax": "i = Constant <value = int64[1] {2}> () y = ReduceMax <keepdims = 0> (x, i)",
    "MaxPool": "y = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)",
}


@pytest.mark.parametrize("name", CASES)
def test_a_move_of_the_numbers_is_the_move_of_the_value(name: str, onnx_text: Text) -> None:
    model = onnx_text(f"g (float[2,6,4,4] x) => (float[d] y) {{ {CASES[name]} }}")
    proto = ir.to_proto(model)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    proto = onnx.shape_inference.infer_shapes(proto)
    numbers = np.arange(1, 7, dtype=np.float32).reshape(KEPT)
    expected = Session(proto, optimize=False).run({"x": np.broadcast_to(numbers, SHAPE).copy()})["y"]
    node = next(node for node in ir.from_proto(proto).graph if node.op_type in MOVES)
    moved = move(node, [numbers] * (2 if node.op_type == "Concat" else 1))
    assert moved is not None
    np.testing.assert_array_equal(np.broadcast_to(moved[0], expected.shape), expected)


UNKNOWN = {
    "rows and columns that are not known": """g (float[1,6,h,w] x) => (float[1,d,e] y) <int64[3] s =
    {1,-1,3}> {
        y = Reshape (x, s) }""",
    "starts computed at run time": """g (float[1,6,4,4] x, int64[1] i) => (float[1,d,4,4] y) { y = Slice (x,
    i, i, i) }""",
    "a mean over the channels": "g (float[1,6,4,4] x) => (float[1,1,1,1] y) { y = ReduceMean (x) }",
    "a border that is not zero": """g (float[1,6,4,4] x) => (float[1,6,6,4] y) <int64[8] p =
    {0,0,1,0,0,0,1,0}, float k = {1.0}> {
        y = Pad (x, p, k) }""",
    "more channels by Pad": """g (float[1,6,4,4] x) => (float[1,7,4,4] y) <int64[8] p = {0,1,0,0,0,0,0,0}> {
        y = Pad (x, p) }""",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_followed_is_refused(name: str, onnx_text: Text) -> None:
    node = next(iter(onnx_text(UNKNOWN[name]).graph))
    assert move(node, [np.arange(1, 7).reshape(KEPT)]) is None
