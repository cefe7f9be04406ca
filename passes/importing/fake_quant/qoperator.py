"""Integer graphs of ONNX Runtime's QOperator format, lifted back to Q/DQ.

    QLinearOp(x, s_x, z_x, …, s_y, z_y)  =>  QuantizeLinear(Op(DequantizeLinear(x, s_x, z_x), …), s_y, z_y)

    operator                                  inputs
    QLinearConv                               x s z  w s z  s_y z_y  [B]      B int32 at s_x·s_w
    QLinearMatMul                             a s z  b s z  s_y z_y
    QGemm                                     a s z  b s z  [C]  [s_y z_y]    C int32 at s_a·s_b
    QLinearAdd, QLinearMul                    a s z  b s z  s_y z_y
    QLinearSigmoid, …LeakyRelu, …Softmax      x s z  s_y z_y
    QLinear(Global)AveragePool, …ReduceMean   x s z  s_y z_y
    QLinearConcat                             s_y z_y  (x s z)…
    QLinearWhere                              c  a s z  b s z  s_y z_y

Without s_y, QGemm gives real numbers. A value that is read twice is dequantized once. Scales and zero points
that are computed at run time, and pooling of tensors with channels last, are refused.

Sources: ONNX operator definitions; onnxruntime docs/ContribOperators.md.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import consumers, get_input, is_op
from onnxq.graph.rewriter import AttributeValue, Rewriter
from onnxq.passes.importing.fake_quant.parameters import Refused, settled
from onnxq.quant.qdq import scale_and_zero_point

__all__ = ["MICROSOFT", "OPERATORS", "dequantize"]

Attributes = Mapping[str, AttributeValue]


def conv(node: ir.Node, rw: Rewriter) -> None:
    """QLinearConv."""
    inputs = [dequantize(node, 0, rw), dequantize(node, 3, rw, axis=0)]
    if get_input(node, 8) is not None:
        inputs.append(_bias(node, 8, (1, 4), rw))
    _finish(node, "Conv", inputs, node.attributes, 6, rw)


def matmul(node: ir.Node, rw: Rewriter) -> None:
    """QLinearMatMul."""
    _finish(node, "MatMul", [dequantize(node, 0, rw), dequantize(node, 3, rw, axis=-1)], {}, 6, rw)


def gemm(node: ir.Node, rw: Rewriter) -> None:
    """QGemm: alpha scales products and bias alike."""
    attributes = {k: node.attributes[k] for k in ("alpha", "transA", "transB") if k in node.attributes}
    axis = 0 if node.attributes.get_int("transB", 0) else 1
    inputs = [dequantize(node, 0, rw), dequantize(node, 3, rw, axis=axis)]
    given: dict[str, AttributeValue] = dict(attributes)
    if get_input(node, 6) is not None:
        inputs.append(_bias(node, 6, (1, 4), rw))
        given["beta"] = node.attributes.get_float("alpha", 1.0)
    _finish(node, "Gemm", inputs, given, 7, rw)


def elementwise(op_type: str, kept: Sequence[str], node: ir.Node, rw: Rewriter) -> None:
    """Operators of one or two tensors; ``kept`` are the attributes that the float operator knows too."""
    count = 2 if op_type in ("Add", "Mul") else 1
    if node.attributes.get_int("channels_last", 0):
        raise Refused("its channels are last; ONNX's pooling has them in axis 1")
    attributes = {name: node.attributes[name] for name in kept if name in node.attributes}
    inputs = [dequantize(node, 3 * i, rw) for i in range(count)]
    _finish(node, op_type, inputs, attributes, 3 * count, rw)


def concat(node: ir.Node, rw: Rewriter) -> None:
    """QLinearConcat: the output's parameters come first."""
    inputs = [dequantize(node, i, rw) for i in range(2, len(node.inputs), 3)]
    _finish(node, "Concat", inputs, node.attributes, 0, rw)


def where(node: ir.Node, rw: Rewriter) -> None:
    """QLinearWhere."""
    inputs = [node.inputs[0], dequantize(node, 1, rw), dequantize(node, 4, rw)]
    _finish(node, "Where", inputs, {}, 7, rw)


def dequantize(node: ir.Node, index: int, rw: Rewriter, axis: int | None = None) -> ir.Value:
    """The real numbers behind ``codes, scale, zero point`` at ``index`` of a node's inputs.

    Raises:
        Refused: the parameters are not constant.
    """
    codes = get_input(node, index)
    if codes is None:
        raise Refused(f"its input {index} is missing")
    scale, zero_point = (settled(get_input(node, index + i)) for i in (1, 2))
    if scale is None or (zero_point is None and get_input(node, index + 2) is not None):
        raise Refused(f"scale or zero point of '{codes.name}' are computed at run time: it stays as it is")
    if zero_point is None:
        zero_point = np.zeros((), (codes.dtype or ir.DataType.UINT8).numpy())
    scale = scale.reshape(()) if scale.size == 1 else scale.reshape(-1)
    shape = scale.shape if scale.ndim else ()
    if zero_point.size not in (1, scale.size):
        raise Refused(f"'{codes.name}' has {scale.size} scales and {zero_point.size} zero points")
    zero_point = np.broadcast_to(zero_point.reshape(-1) if shape else zero_point.reshape(()), shape)
    attributes: dict[str, AttributeValue] = {}
    if shape:
        attributes["axis"] = _positive(codes, axis)
    if (known := _dequantized(codes, scale, zero_point)) is not None:
        return known
    inputs = [codes, *scale_and_zero_point(rw, scale, zero_point, codes.name or "value")]
    kind = ir.DataType.FLOAT
    return rw.op("DequantizeLinear", inputs, attributes, like=codes, dtype=kind, output=f"{codes.name}_real")


def _positive(codes: ir.Value, axis: int | None) -> int:
    if axis is None:
        raise Refused(f"'{codes.name}' has one scale per channel; expected one")
    if axis >= 0:
        return axis
    if codes.shape is None:
        raise Refused(f"the rank of '{codes.name}' is not known: infer-shapes")
    return axis + len(codes.shape)


def _dequantized(codes: ir.Value, scale: np.ndarray, zero_point: np.ndarray) -> ir.Value | None:
    """What a DequantizeLinear with the same single parameters makes of the codes already."""
    for reader in consumers(codes) if scale.ndim == 0 else ():
        if not is_op(reader, "DequantizeLinear") or reader.graph is not codes.graph:
            continue
        given = [settled(get_input(reader, i)) for i in (1, 2)]
        if all(
            a is not None and np.array_equal(a, b) for a, b in zip(given, (scale, zero_point), strict=True)
        ):
            return reader.outputs[0]
    return None


def _bias(node: ir.Node, index: int, scales: tuple[int, int], rw: Rewriter) -> ir.Value:
    """int32 codes at the scale of the accumulator."""
    codes = node.inputs[index]
    factors = [settled(get_input(node, i)) for i in scales]
    if codes is None or factors[0] is None or factors[1] is None:
        raise Refused("the scales of its bias are computed at run time: it stays as it is")
    product = (factors[0].astype(np.float32) * factors[1].astype(np.float32)).reshape(-1)
    scale = product.reshape(()) if product.size == 1 else product
    attributes = {"axis": 0} if scale.ndim else {}
    inputs = [codes, *scale_and_zero_point(rw, scale, np.zeros(scale.shape, np.int32), codes.name or "value")]
    return rw.op("DequantizeLinear", inputs, attributes, like=codes, dtype=ir.DataType.FLOAT)


def _finish(
    node: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Attributes,
    at: int,
    rw: Rewriter,
) -> None:
    """The float operator, and the QuantizeLinear with the parameters at ``at``, if there are any."""
    output = node.outputs[0]
    scale = get_input(node, at)
    result = rw.op(op_type, inputs, attributes, like=output, dtype=ir.DataType.FLOAT)
    if scale is None:
        rw.replace(node, result)
        return
    found, zero_point = settled(scale), settled(get_input(node, at + 1))
    if found is None or found.size != 1 or (zero_point is None and get_input(node, at + 1) is not None):
        raise Refused("scale or zero point of its result are no constant numbers: it stays as it is")
    if zero_point is None:
        zero_point = np.zeros((), (output.dtype or ir.DataType.UINT8).numpy())
    params = scale_and_zero_point(rw, found.reshape(()), zero_point.reshape(()), output.name or "value")
    dtype = ir.DataType.from_numpy(zero_point.dtype)
    rw.replace(node, rw.op("QuantizeLinear", [result, *params], like=output, dtype=dtype))


Recogniser = Callable[[ir.Node, Rewriter], None]

OPERATORS: Mapping[str, Recogniser] = {"QLinearConv": conv, "QLinearMatMul": matmul}
"""Of ai.onnx."""

_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")

MICROSOFT: Mapping[str, Recogniser] = {
    "QGemm": gemm,
    "QLinearAdd": partial(elementwise, "Add", ()),
    "QLinearAveragePool": partial(elementwise, "AveragePool", _POOL),
    "QLinearConcat": concat,
    "QLinearGlobalAveragePool": partial(elementwise, "GlobalAveragePool", ()),
    "QLinearLeakyRelu": partial(elementwise, "LeakyRelu", ("alpha",)),
    "QLinearMul": partial(elementwise, "Mul", ()),
    "QLinearReduceMean": partial(elementwise, "ReduceMean", ("axes", "keepdims")),
    "QLinearSigmoid": partial(elementwise, "Sigmoid", ()),
    "QLinearSoftmax": partial(elementwise, "Softmax", ("axis",)),
    "QLinearWhere": where,
}
"""Of com.microsoft."""
