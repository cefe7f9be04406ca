"""What has to change at a node when its opset rises by one; every step where meaning would change silently.

``ADAPTERS[18]["Split"]`` makes a Split of opset 17 one of opset 18. Operators without an entry mean the same
in both; their schemas have at most gained types and optional attributes. Written from the operators'
changelog (https://onnx.ai/onnx/operators/) for opset 7 to 25; the steps before are in _early_opset_adapters.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing._early_opset_adapters import EARLY_ADAPTERS
from onnxq.passes.importing._opset_edits import Adapter, drop, refuse, to_input

__all__ = ["ADAPTERS", "NEWEST"]

NEWEST = 25
"""Up to this opset :data:`ADAPTERS` is complete."""

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")


def _axes_to_input(node: ir.Node, rw: Rewriter) -> None:
    """Op<axes>(x) => Op(x, axes). An empty list means what an absent one means: all axes."""
    if axes := node.attributes.get_ints("axes", ()):
        rw.set_input(node, 1, rw.const(np.array(axes, np.int64), f"{_stem(node)}_axes"))
    drop(node, rw, "axes")


def _batch_normalization_9(node: ir.Node, rw: Rewriter) -> None:
    """spatial=0 (statistics of every position) is gone."""
    if node.attributes.get_int("spatial", 1) != 1:
        raise refuse(node, "spatial=0 does not exist after opset 8")
    drop(node, rw, "spatial")


def _batch_normalization_14(node: ir.Node, rw: Rewriter) -> None:
    """More than one output meant training: ONNX Runtime then normalizes by the batch, whoever reads them."""
    if any(output.name for output in node.outputs[1:]):
        raise refuse(node, "it has training outputs and so normalizes by the statistics of the batch")
    if len(node.outputs) > 1:
        node.resize_outputs(1)
        rw.replace(node, rw.op("BatchNormalization", node.inputs, node.attributes, name=node.name))


def _upsample_9(node: ir.Node, rw: Rewriter) -> None:
    """Upsample<scales>(x) => Upsample(x, scales)"""
    scales = np.array(node.attributes.get_floats("scales", ()), np.float32)
    rw.set_input(node, 1, rw.const(scales, f"{_stem(node)}_scales"))
    drop(node, rw, "scales")


def _upsample_10(node: ir.Node, rw: Rewriter) -> None:
    """Upsample(x, scales) => Resize(x, scales)"""
    rw.replace(node, rw.op("Resize", node.inputs, node.attributes, name=node.name))


def _resize_11(node: ir.Node, rw: Rewriter) -> None:
    """Resize(x, scales) => Resize(x, _, scales), with the rule for coordinates and rounding that 10 had.

    Opset 10 left the rounding of "nearest" open; ONNX Runtime takes the floor where an axis grows and the
    ceiling where it shrinks.
    """
    settings: dict[str, str] = {"coordinate_transformation_mode": "asymmetric"}
    mode = node.attributes.get_string("mode", "nearest")
    if mode == "nearest":
        settings["nearest_mode"] = _rounding(node)
    x, scales = node.inputs[0], get_input(node, 1)
    rw.replace(node, rw.op("Resize", [x, None, scales], {"mode": mode, **settings}, name=node.name))


def _rounding(node: ir.Node) -> str:
    scales = constant(get_input(node, 1))
    if scales is None or bool(np.all(scales >= 1)):
        return "floor"
    if bool(np.all(scales <= 1)):
        return "ceil"
    raise refuse(node, "it enlarges one axis and shrinks another, by nearest neighbour")


def _resize_13(node: ir.Node, rw: Rewriter) -> None:
    if node.attributes.get_string("coordinate_transformation_mode", "") == "tf_half_pixel_for_nn":
        raise refuse(node, "tf_half_pixel_for_nn does not exist after opset 12")


def _slice_10(node: ir.Node, rw: Rewriter) -> None:
    """Slice<starts, ends, axes>(x) => Slice(x, starts, ends, axes)"""
    for i, name in enumerate(("starts", "ends", "axes"), 1):
        to_input(node, rw, i, name)


def _top_k_10(node: ir.Node, rw: Rewriter) -> None:
    """TopK<k>(x) => TopK(x, k)"""
    k = np.array([node.attributes.get_int("k", 0)], np.int64)
    rw.set_input(node, 1, rw.const(k, f"{_stem(node)}_k"))
    drop(node, rw, "k")


def _clip_11(node: ir.Node, rw: Rewriter) -> None:
    """Clip<min, max>(x) => Clip(x, min, max)"""
    for i, name in enumerate(("min", "max"), 1):
        bound = node.attributes.get_float(name)
        if bound is not None:
            rw.set_input(node, i, rw.const(_like(node, bound), f"{_stem(node)}_{name}"))
        drop(node, rw, name)


def _pad_11(node: ir.Node, rw: Rewriter) -> None:
    """Pad<pads, value>(x) => Pad(x, pads, value)"""
    pads = np.array(node.attributes.get_ints("pads", ()), np.int64)
    value = node.attributes.get_float("value", 0.0)
    rw.set_input(node, 1, rw.const(pads, f"{_stem(node)}_pads"))
    if value:
        rw.set_input(node, 2, rw.const(_like(node, value), f"{_stem(node)}_value"))
    drop(node, rw, "pads", "value")


def _scatter_11(node: ir.Node, rw: Rewriter) -> None:
    """Scatter => ScatterElements"""
    rw.replace(node, rw.op("ScatterElements", node.inputs, node.attributes, name=node.name))


def _dropout_10(node: ir.Node, rw: Rewriter) -> None:
    """The mask was of the input's type and is boolean from here on."""
    if any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:]):
        raise refuse(node, "its mask is read, and was no boolean before opset 10")


def _dropout_12(node: ir.Node, rw: Rewriter) -> None:
    """Dropout<ratio>(x) => Dropout(x, ratio)"""
    ratio = np.array(node.attributes.get_float("ratio", 0.5), np.float32)
    rw.set_input(node, 1, rw.const(ratio, f"{_stem(node)}_ratio"))
    drop(node, rw, "ratio")


def _softmax_13(node: ir.Node, rw: Rewriter) -> None:
    """Normalize over all axes from ``axis`` on: before 13 the input was seen as a matrix.

           y = Softmax<axis>(x)
        => y = Reshape(Softmax<axis=-1>(Flatten<axis>(x)), Shape(x))

    or, where only one of these axes is longer than 1, Softmax over that axis.
    """
    x, axis = node.inputs[0], node.attributes.get_int("axis", 1)
    if (single := _only_axis(x, axis)) is not None:
        return rw.set_attribute(node, "axis", single)
    matrix = rw.op("Flatten", [x], {"axis": axis}, dtype=x.dtype if x is not None else None)
    y = rw.op(node.op_type, [matrix], {"axis": -1}, like=matrix)
    shape = rw.op("Shape", [x], dtype=ir.DataType.INT64)
    return rw.replace(node, rw.op("Reshape", [y, shape], name=node.name))


def _only_axis(x: ir.Value | None, axis: int) -> int | None:
    """The one axis, of those from ``axis`` on, that the normalization really runs over."""
    if axis == -1:
        return -1
    if x is None or x.shape is None:
        return None
    rank = len(x.shape)
    start = axis if axis >= 0 else axis + rank
    longer = [i for i in range(start, rank) if x.shape[i] != 1]
    if len(longer) > 1 or start >= rank:
        return None
    chosen = longer[0] if longer else rank - 1
    return -1 if chosen == rank - 1 else chosen


def _split_13(node: ir.Node, rw: Rewriter) -> None:
    """Split<split>(x) => Split(x, split)"""
    to_input(node, rw, 1, "split")


def _split_18(node: ir.Node, rw: Rewriter) -> None:
    """Equal parts have to be counted: Split(x) => Split<num_outputs>(x)"""
    if get_input(node, 1) is None:
        rw.set_attribute(node, "num_outputs", len(node.outputs))


def _roi_align_16(node: ir.Node, rw: Rewriter) -> None:
    """The default became half_pixel."""
    rw.set_attribute(node, "coordinate_transformation_mode", "output_half_pixel")


def _grid_sample_20(node: ir.Node, rw: Rewriter) -> None:
    """bilinear and bicubic are now called linear and cubic."""
    mode = node.attributes.get_string("mode", "bilinear")
    rw.set_attribute(node, "mode", {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))


def _dft_20(node: ir.Node, rw: Rewriter) -> None:
    """DFT<axis>(x, n) => DFT(x, n, axis), where the default was 1 and is now -2."""
    axis = np.array(node.attributes.get_int("axis", 1), np.int64)
    rw.set_input(node, 2, rw.const(axis, f"{_stem(node)}_axis"))
    drop(node, rw, "axis")


def _group_normalization_19(node: ir.Node, rw: Rewriter) -> None:
    """Deprecated up to opset 20: one scale and bias a group are those of an InstanceNormalization.

       y = GroupNormalization(x, scale, bias)
    => y = Reshape(InstanceNormalization(Reshape(x, [0, groups, -1]), scale, bias), Shape(x))
    """
    x, groups = node.inputs[0], node.attributes.get_int("num_groups", 0)
    shape = rw.const(np.array([0, groups, -1], np.int64), f"{_stem(node)}_groups")
    dtype = x.dtype if x is not None else None
    apart = rw.op("Reshape", [x, shape], dtype=dtype)
    epsilon = {"epsilon": node.attributes.get_float("epsilon", 1e-5)}
    normal = rw.op("InstanceNormalization", [apart, *node.inputs[1:]], epsilon, dtype=dtype)
    now = rw.op("Shape", [x], dtype=ir.DataType.INT64)
    rw.replace(node, rw.op("Reshape", [normal, now], name=node.name))


def _group_normalization_21(node: ir.Node, rw: Rewriter) -> None:
    """One scale and bias per channel where there was one per group."""
    x, groups = node.inputs[0], node.attributes.get_int("num_groups", 0)
    channels = x.shape[1] if x is not None and x.shape is not None else None
    for i, name in ((1, "scale"), (2, "bias")):
        array = constant(get_input(node, i))
        if array is None or not isinstance(channels, int) or groups < 1 or array.size != groups:
            raise refuse(node, "its scale and bias are not constant, or its channels not known")
        rw.set_input(node, i, rw.const(np.repeat(array, channels // groups), f"{_stem(node)}_{name}"))


def _scan_9(node: ir.Node, rw: Rewriter) -> None:
    raise refuse(node, "the batched Scan of opset 8 is gone")


def _like(node: ir.Node, number: float) -> Array:
    x = node.inputs[0]
    if x is None or x.dtype is None:
        raise refuse(node, "the type of its input is not known (run inline-functions or infer-shapes before)")
    return np.array(number, x.dtype.numpy())


def _stem(node: ir.Node) -> str:
    return node.outputs[0].name or node.op_type


ADAPTERS: Mapping[int, Mapping[str, Adapter]] = {
    **EARLY_ADAPTERS,
    9: {"BatchNormalization": _batch_normalization_9, "Scan": _scan_9, "Upsample": _upsample_9},
    10: {"Dropout": _dropout_10, "Slice": _slice_10, "TopK": _top_k_10, "Upsample": _upsample_10},
    11: {"Clip": _clip_11, "Pad": _pad_11, "Resize": _resize_11, "Scatter": _scatter_11},
    12: {"Dropout": _dropout_12},
    13: {
        **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax_13),
        **dict.fromkeys(("ReduceSum", "Squeeze", "Unsqueeze"), _axes_to_input),
        "Resize": _resize_13,
        "Split": _split_13,
    },
    14: {"BatchNormalization": _batch_normalization_14},
    16: {"RoiAlign": _roi_align_16},
    18: {**dict.fromkeys((f"Reduce{name}" for name in _REDUCTIONS), _axes_to_input), "Split": _split_18},
    19: {"GroupNormalization": _group_normalization_19},
    20: {"DFT": _dft_20, "GridSample": _grid_sample_20},
    21: {"GroupNormalization": _group_normalization_21},
}
"""For each opset, what happens to the operators of the one before."""
