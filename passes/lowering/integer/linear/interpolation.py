"""Resize that interpolates: a product with one matrix of small whole numbers for each axis.

    y = A_h · x · A_wᵀ,   A = B/D with whole B        acc = B_h · q · B_wᵀ,   real = s_x/(s_y·D_h·D_w)

Doubling with bilinear weights has quarters (D = 4). The matrices are ONNX Runtime's own answers for unit
vectors, whatever the coordinate mode; where no D up to 1024 makes them whole, there is no exact rule. Rows
of A sum to one, so that the zero point needs one constant only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.lengths import Lengths
from onnxq.graph.match import constant, get_input
from onnxq.graph.numeric import Array, IntArray
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.lowering.integer.emit.requantize import cast, requantize
from onnxq.passes.lowering.integer.operand import Refused
from onnxq.passes.lowering.integer.region import Region
from onnxq.quant.fixed_point import Term, prove_int32
from onnxq.runtime import Session

__all__ = ["lower_resize"]

LARGEST = 1024
CLOSE = 2.0**-18
"""Interpolation weights are float32 from a few operations on coordinates."""


@dataclass(frozen=True, eq=False)
class _Axis:
    """whole: int32 [out, in], D times the weights."""

    whole: IntArray
    divisor: int


def lower_resize(region: Region, rw: Rewriter) -> ir.Value:
    """Linear or cubic Resize of any axes, of known lengths."""
    x, node = region.activation(0), region.node
    resized = _resized(node, rw.model)
    shape = list(node.inputs[0].shape or ())  # type: ignore[union-attr]
    value, divisor, reach = cast(rw, x.codes, ir.DataType.INT32), 1, x.levels - 1
    for axis, (before, after, scale) in reversed(resized.items()):
        weights = _weights(region, before, after, scale, rw)
        shape[axis] = after
        value = _along(rw, value, axis, weights.whole, ir.Shape(shape), region.result.name or "resize")
        divisor *= weights.divisor
        reach *= int(np.abs(weights.whole.astype(np.int64)).sum(axis=1).max())
    bound = np.asarray(reach, np.int64)
    prove_int32(-bound, bound, region.where, region.profile.accumulator_bits)
    bias = np.asarray(-x.zero_point * divisor, np.int64)
    term = Term(np.asarray(x.scale / (region.scale * divisor)), -bound, bound, bias)
    fixed = region.fixed_point([term])
    return requantize(rw, [value], fixed, region)


def _resized(node: ir.Node, model: ir.Model) -> dict[int, tuple[int, int, float | None]]:
    """The axes that get another length: the lengths before and after, and the scale if that is what is given.

    Raises:
        Refused: a length is not known, or the operator takes a region of its input.
    """
    before, after = (
        value.shape if value is not None else None for value in (node.inputs[0], node.outputs[0])
    )
    attributes = node.attributes
    scales, sizes = (constant(get_input(node, i)) for i in (2, 3))
    if before is None or after is None:
        raise Refused("the rank of its input is not known; run shape inference")
    if attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise Refused("it resizes a region of its input (tf_crop_and_resize); only whole inputs have a rule")
    if attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refused("its sizes follow from a keep_aspect_ratio_policy; give the sizes themselves")
    axes = [axis % len(before) for axis in attributes.get_ints("axes", range(len(before)))]
    kept = _kept(node, axes, model)
    found: dict[int, tuple[int, int, float | None]] = {}
    for place, axis in enumerate(axes):
        scale = float(scales[place]) if scales is not None and scales.size else None
        old, new = before[axis], int(sizes[place]) if sizes is not None else after[axis]
        if isinstance(old, int) and scale is not None:
            new = math.floor(np.float32(old) * np.float32(scale))
        if scale == 1 or axis in kept or (isinstance(old, int) and old == new):
            continue
        if not isinstance(old, int) or not isinstance(new, int):
            raise Refused(f"it interpolates along axis {axis}, whose length is not known; fix the shapes")
        found[axis] = (old, new, scale)
    return dict(sorted(found.items()))


def _kept(node: ir.Node, axes: Sequence[int], model: ir.Model) -> set[int]:
    """The axes whose lengths, computed at run time from shapes, are those of the input."""
    sizes = get_input(node, 3)
    if sizes is None or constant(sizes) is not None:
        return set()
    lengths = Lengths(model)
    before, after = lengths.of(node.inputs[0]), lengths.numbers(sizes)
    if before is None or after is None:
        return set()
    return {axis for axis, new in zip(axes, after, strict=True) if before[axis] == new}


def _along(rw: Rewriter, value: ir.Value, axis: int, whole: IntArray, shape: ir.Shape, name: str) -> ir.Value:
    """The product with a matrix [out, in] along one axis; the last two need no Transpose."""
    last, dtype = len(shape) - 1, ir.DataType.INT32
    matrix = rw.const(whole if axis == last - 1 else whole.T, f"{name}_weights")
    if axis == last - 1:
        return rw.op("MatMul", [matrix, value], dtype=dtype, shape=shape)
    if axis == last:
        return rw.op("MatMul", [value, matrix], dtype=dtype, shape=shape)
    order = list(range(last + 1))
    order[axis], order[last] = last, axis
    turned = ir.Shape([shape[i] for i in order])
    aside = rw.op("Transpose", [value], {"perm": order}, dtype=dtype)
    product = rw.op("MatMul", [aside, matrix], dtype=dtype, shape=turned)
    return rw.op("Transpose", [product], {"perm": order}, dtype=dtype, shape=shape)


def _weights(region: Region, before: int, after: int, scale: float | None, rw: Rewriter) -> _Axis:
    """What Resize makes of each unit vector along an axis, as whole numbers over a divisor."""
    if before * after > 2**22:
        raise Refused("it interpolates along an axis too long for a matrix of weights")
    sizes: tuple[str, Array] = ("sizes", np.asarray([before, 1, 1, after], np.int64))
    factors: tuple[str, Array] = ("scales", np.asarray([1, 1, 1, scale or 1], np.float32))
    model = _model(region.node, before, sizes if scale is None else factors, rw.model.opset_imports)
    unit = np.eye(before, dtype=np.float32).reshape(before, 1, 1, before)
    (image,) = Session(model, optimize=False, threads=1).run({"x": unit}).values()
    weights = image.reshape(before, after).T.astype(np.float64)
    for divisor in range(1, LARGEST + 1):
        whole = np.rint(weights * divisor)
        if np.abs(whole - weights * divisor).max() < CLOSE * divisor and (whole.sum(axis=1) == divisor).all():
            return _Axis(whole.astype(np.int32), divisor)
    raise Refused(
        "its interpolation weights are no multiples of 1/1024 or of larger parts; there is no exact rule"
    )


def _model(node: ir.Node, length: int, given: tuple[str, Array], opsets: dict[str, int]) -> ir.Model:
    """The Resize alone, of [length, 1, 1, length]."""
    name, array = given
    tensor = ir.tensor(array, name=name)
    target = ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
    )
    real = ir.TensorType(ir.DataType.FLOAT)
    x = ir.Value(name="x", type=real, shape=ir.Shape([length, 1, 1, length]))
    inputs = [x, None, target] if name == "scales" else [x, None, None, target]
    attributes = [attribute for key, attribute in node.attributes.items() if key != "axes"]
    copy = ir.Node("", "Resize", inputs, attributes)
    copy.outputs[0].name, copy.outputs[0].type = "y", real
    graph = ir.Graph(
        [x], copy.outputs, nodes=[copy], initializers=[target], opset_imports=dict(opsets), name="w"
    )
    return ir.Model(graph, ir_version=8)
