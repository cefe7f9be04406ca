"""Resize that interpolates: a product with one matrix of small whole numbers for each axis.

    y = A_h · x · A_wᵀ,   A = B/D with whole B        acc = B_h · q · B_wᵀ,   real = s_x/(s_y·D_h·D_w)

Doubling with bilinear weights has quarters (D = 4). The matrices are ONNX Runtime's own answers for unit
vectors, whatever the coordinate mode; where no D up to 1024 makes them whole, there is no exact rule. Rows
of A sum to one, so that the zero point needs one constant only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, static_shape
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
    """Linear or cubic Resize of the last one or two axes, of static length."""
    x, node = region.activation(0), region.node
    before, after = (static_shape(value) for value in (node.inputs[0], node.outputs[0]))
    if before is None or after is None:
        raise Refused("it interpolates, so it needs static shapes")
    axes = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    if not axes or axes[0] < len(before) - 2 or {"axes", "keep_aspect_ratio_policy"} & set(node.attributes):
        raise Refused("it interpolates along other axes than the last two")
    value, divisor, reach = cast(rw, x.codes, ir.DataType.INT32), 1, x.levels - 1
    for axis in reversed(axes):
        weights = _weights(region, axis, before[axis], after[axis], rw)
        shape = ir.Shape([after[i] if i in axes and i >= axis else n for i, n in enumerate(before)])
        last = axis == len(before) - 1
        matrix = rw.const(weights.whole.T if last else weights.whole, f"{region.result.name}_weights")
        inputs = [value, matrix] if last else [matrix, value]
        value = rw.op("MatMul", inputs, dtype=ir.DataType.INT32, shape=shape)
        divisor *= weights.divisor
        reach *= int(np.abs(weights.whole.astype(np.int64)).sum(axis=1).max())
    bound = np.asarray(reach, np.int64)
    prove_int32(-bound, bound, region.where, region.profile.accumulator_bits)
    bias = np.asarray(-x.zero_point * divisor, np.int64)
    term = Term(np.asarray(x.scale / (region.scale * divisor)), -bound, bound, bias)
    fixed = region.fixed_point([term])
    return requantize(rw, [value], fixed, region)


def _weights(region: Region, axis: int, before: int, after: int, rw: Rewriter) -> _Axis:
    """What Resize makes of each unit vector along an axis, as whole numbers over a divisor."""
    if before * after > 2**22:
        raise Refused("it interpolates along an axis too long for a matrix of weights")
    node, scales = region.node, constant(get_input(region.node, 2))
    factors = np.ones(4, np.float32)
    if scales is not None and scales.size:
        factors[3] = scales[axis]
    sizes = np.asarray([before, 1, 1, after], np.int64)
    given = [("scales", factors)] if scales is not None and scales.size else [("sizes", sizes)]
    model = _model(node, before, given, rw.model.opset_imports)
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


def _model(
    node: ir.Node, length: int, given: Sequence[tuple[str, Array]], opsets: dict[str, int]
) -> ir.Model:
    """The Resize alone, of [length, 1, 1, length]."""
    ((name, array),) = given
    tensor = ir.tensor(array, name=name)
    target = ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
    )
    real = ir.TensorType(ir.DataType.FLOAT)
    x = ir.Value(name="x", type=real, shape=ir.Shape([length, 1, 1, length]))
    inputs = [x, None, target] if name == "scales" else [x, None, None, target]
    copy = ir.Node("", "Resize", inputs, list(node.attributes.values()))
    copy.outputs[0].name, copy.outputs[0].type = "y", real
    graph = ir.Graph(
        [x], copy.outputs, nodes=[copy], initializers=[target], opset_imports=dict(opsets), name="w"
    )
    return ir.Model(graph, ir_version=8)
