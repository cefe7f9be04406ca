"""The steps from opset 1 to 7, in the form of :data:`onnxq.passes.importing._opset_adapters.ADAPTERS`.

ONNX Runtime has no kernels for most of these operators. Written from their changelog and documentation
(https://github.com/onnx/onnx/blob/main/docs/Changelog.md). Opset 7 brought numpy's broadcasting; before it
the second operand's axes stood for a run of the first one's, ``broadcast=1`` had to be said, and ``axis``
said where the run begins.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, rank, scalar, static_shape
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing._opset_edits import Adapter, drop, refuse, to_input

__all__ = ["EARLY_ADAPTERS"]

_IN_PLACE = (
    *("Abs", "Add", "Ceil", "Clip", "Div", "Elu", "Exp", "Floor", "HardSigmoid", "InstanceNormalization"),
    *("LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg", "PRelu", "Reciprocal", "Relu", "Sigmoid"),
    *("Sqrt", "Sub", "Sum", "Tanh", "BatchNormalization", "Dropout"),
)
_BROADCASTING = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")


def _lp_pool_2(node: ir.Node, rw: Rewriter) -> None:
    """The norm p was a float and is an integer."""
    p = node.attributes.get("p")
    if p is None or p.type != ir.AttributeType.FLOAT:
        return
    if not p.as_float().is_integer():
        raise refuse(node, f"p={p.as_float():g} is no integer, which opset 2 asks for")
    rw.set_attribute(node, "p", int(p.as_float()))


def _pad_2(node: ir.Node, rw: Rewriter) -> None:
    """Pad<paddings> => Pad<pads>"""
    rw.set_attribute(node, "pads", list(node.attributes.get_ints("paddings", ())))
    drop(node, rw, "paddings")


def _split_2(node: ir.Node, rw: Rewriter) -> None:
    """Split(x, split) => Split<split>(x), to become an input again at 13; there was no default axis."""
    if "axis" not in node.attributes:
        raise refuse(node, "it does not say its axis, and opset 1 had no default")
    if get_input(node, 1) is None:
        return
    sizes = constant(node.inputs[1])
    if sizes is None:
        raise refuse(node, "its sizes are not constant")
    rw.set_attribute(node, "split", [int(size) for size in sizes.reshape(-1)])
    node.resize_inputs(1)


def _gru_3(node: ir.Node, rw: Rewriter) -> None:
    """The default direction of opset 1 was misspelt."""
    if node.attributes.get_string("direction", "foward") == "foward":
        rw.set_attribute(node, "direction", "forward")


def _concat_4(node: ir.Node, rw: Rewriter) -> None:
    """The axis has to be said; its default was 1."""
    rw.set_attribute(node, "axis", node.attributes.get_int("axis", 1))


def _reshape_5(node: ir.Node, rw: Rewriter) -> None:
    """Reshape<shape>(x) => Reshape(x, shape)"""
    to_input(node, rw, 1, "shape")
    drop(node, rw, "consumed_inputs")


def _without_consumed_inputs(node: ir.Node, rw: Rewriter) -> None:
    """A hint for computing in place, without a meaning."""
    drop(node, rw, "consumed_inputs")


def _cast_6(node: ir.Node, rw: Rewriter) -> None:
    """Cast<to="FLOAT"> => Cast<to=1>"""
    name = node.attributes.get_string("to", "")
    if name not in ir.DataType.__members__:
        raise refuse(node, f"to='{name}' is no type")
    rw.set_attribute(node, "to", int(ir.DataType[name]))


def _selu_6(node: ir.Node, rw: Rewriter) -> None:
    """The defaults of alpha and gamma got more digits."""
    for name, default in (("alpha", 1.6732), ("gamma", 1.0507)):
        rw.set_attribute(node, name, node.attributes.get_float(name, default))
    drop(node, rw, "consumed_inputs")


def _tile_6(node: ir.Node, rw: Rewriter) -> None:
    """Tile(x, tiles, axis) => Tile(x, repeats)"""
    tiles, axis = (scalar(get_input(node, i)) for i in (1, 2))
    axes = rank(node.inputs[0])
    if tiles is None or axis is None or axes is None or not -axes <= axis < axes:
        raise refuse(node, "its tiles and axis are not constant, or the rank of its input is not known")
    repeats = np.ones(axes, np.int64)
    repeats[int(axis)] = int(tiles)
    rw.set_input(node, 1, rw.const(repeats, f"{node.outputs[0].name}_repeats"))
    rw.set_input(node, 2, None)
    node.resize_inputs(2)


def _broadcast_7(node: ir.Node, rw: Rewriter) -> None:
    """Op<broadcast=1, axis>(a, b) => Op(a, b'), where the axes of b' from ``axis`` on are those of b."""
    axis = node.attributes.get_int("axis")
    if node.attributes.get_int("broadcast", 0) and not _is_single(node.inputs[1]):
        _align(node, axis, rw)
    drop(node, rw, "axis", "broadcast", "consumed_inputs")


def _align(node: ir.Node, axis: int | None, rw: Rewriter) -> None:
    """Append axes of 1 to the second input, so that its first one meets ``axis`` of the first input."""
    if axis is None:
        return
    a, b = (rank(value) for value in node.inputs[:2])
    if a is None or b is None:
        raise refuse(node, f"it broadcasts from axis {axis} on, and the ranks of its inputs are not known")
    if axis < 0 or axis + b > a:
        raise refuse(node, f"axis={axis} does not fit a second input of rank {b} into a first of rank {a}")
    _append_axes(node, a - axis - b, rw)


def _append_axes(node: ir.Node, count: int, rw: Rewriter) -> None:
    """Op(a, b) => Op(a, Unsqueeze(b)), with ``count`` axes of 1 behind those of b."""
    b = node.inputs[1]
    if b is None or not count:
        return
    array, name = constant(b), f"{b.name}_unsqueezed"
    if array is not None:
        longer = rw.const(array.reshape(*array.shape, *[1] * count), name)
    else:
        first, shape = rank(b) or 0, ir.Shape([*(b.shape or ()), *[1] * count])
        axes = list(range(first, first + count))
        longer = rw.op("Unsqueeze", [b], {"axes": axes}, dtype=b.dtype, shape=shape, output=name)
    rw.set_input(node, 1, longer)


def _is_single(value: ir.Value | None) -> bool:
    """Whether a value is known to be one number, which fits everything."""
    shape = static_shape(value)
    return shape is not None and set(shape) <= {1}


def _p_relu_7(node: ir.Node, rw: Rewriter) -> None:
    """A slope of rank 1 was one number a channel (axis 1), or one number for all."""
    x, slope = rank(node.inputs[0]), node.inputs[1]
    if rank(slope) != 1 or _is_single(slope):
        return
    if x is None:
        raise refuse(node, "it has a slope for each channel, and the rank of its input is not known")
    _append_axes(node, max(x - 2, 0), rw)


def _gemm_7(node: ir.Node, rw: Rewriter) -> None:
    """broadcast=1 is always on."""
    drop(node, rw, "broadcast")


def _recurrent_7(node: ir.Node, rw: Rewriter) -> None:
    """output_sequence=1 asked for the first output, which is made where it is named."""
    drop(node, rw, "output_sequence")


def _inference_7(node: ir.Node, rw: Rewriter) -> None:
    """is_test is gone: one output means inference. Where is_test was not said, it did so before."""
    if node.attributes.get_int("is_test", 1) == 0:
        raise refuse(node, "is_test=0 says that it is in training mode")
    if node.op_type == "BatchNormalization" and len(node.outputs) > 1:
        if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
            raise refuse(node, "its training outputs are read")
        node.resize_outputs(1)
    drop(node, rw, "is_test")


def _upsample_7(node: ir.Node, rw: Rewriter) -> None:
    """Upsample<height_scale, width_scale> => Upsample<scales>; bilinear is now called linear."""
    height, width = (node.attributes.get_float(name, 1.0) for name in ("height_scale", "width_scale"))
    mode = node.attributes.get_string("mode", "nearest")
    rw.set_attribute(node, "scales", [1.0, 1.0, height, width])
    rw.set_attribute(node, "mode", {"bilinear": "linear"}.get(mode, mode))
    drop(node, rw, "height_scale", "width_scale")


EARLY_ADAPTERS: Mapping[int, Mapping[str, Adapter]] = {
    2: {"GlobalLpPool": _lp_pool_2, "LpPool": _lp_pool_2, "Pad": _pad_2, "Split": _split_2},
    3: {"GRU": _gru_3},
    4: {"Concat": _concat_4},
    5: {"Reshape": _reshape_5},
    6: {
        **dict.fromkeys(_IN_PLACE, _without_consumed_inputs),
        "Cast": _cast_6,
        "Selu": _selu_6,
        "Tile": _tile_6,
    },
    7: {
        **dict.fromkeys(_BROADCASTING, _broadcast_7),
        **dict.fromkeys(("BatchNormalization", "Dropout"), _inference_7),
        **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent_7),
        "Gemm": _gemm_7,
        "PRelu": _p_relu_7,
        "Upsample": _upsample_7,
    },
}
"""For each opset up to 7, what happens to the operators of the one before."""
