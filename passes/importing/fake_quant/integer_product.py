"""ConvInteger and MatMulInteger with their scales, lifted back to Q/DQ.

    Mul(Cast<float>(ConvInteger(x, w, z_x, z_w)), m)  =>  Conv(DQ(x, s_x, z_x), DQ(w, m/s_x, z_w))

where a QuantizeLinear with the constant scale s_x makes x, w is constant, and m is one number or one for each
output channel. Dynamic quantization keeps its run-time scale:

    x, s, z = DynamicQuantizeLinear(v);  Mul(Cast(MatMulInteger(x, w, z, z_w)), s·s_w)
        =>  MatMul(DQ(x, s, z), DQ(w, s_w, z_w))

Any other use of the two operators (a strict integer graph, say) is left alone without a word.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import get_input, is_op, producer, sole_consumer
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import Rewriter
from onnxq.passes.importing.fake_quant.parameters import settled

__all__ = ["OPERATORS"]


def lift(node: ir.Node, rw: Rewriter) -> None:
    """ConvInteger or MatMulInteger, if Cast and Mul follow."""
    cast = sole_consumer(node.outputs[0], "Cast")
    mul = sole_consumer(cast.outputs[0], "Mul") if cast is not None else None
    x, w = get_input(node, 0), get_input(node, 1)
    array = settled(w)
    if cast is None or mul is None or x is None or w is None or array is None or array.ndim < 2:
        return
    factor = mul.inputs[1] if mul.inputs[0] is cast.outputs[0] else mul.inputs[0]
    found = _scales(x, factor)
    if found is None:
        return
    scale_x, scale_w = found
    axis = 0 if is_op(node, "ConvInteger") else -1
    if scale_w.size not in (1, array.shape[axis]):
        return
    zero_x = get_input(node, 2)
    real = _dequantize(x, scale_x, zero_x, None, rw)
    shape = scale_w.reshape(()) if scale_w.size == 1 else scale_w.reshape(-1)
    scale = rw.const(shape.astype(np.float32), f"{w.name}_scale")
    weight = _dequantize(w, scale, get_input(node, 3), axis % array.ndim if shape.ndim else None, rw)
    op_type = node.op_type.removesuffix("Integer")
    output = mul.outputs[0]
    result = rw.op(op_type, [real, weight], node.attributes, like=output, dtype=ir.DataType.FLOAT)
    rw.replace([node, cast, mul], result)


def _scales(x: ir.Value, factor: ir.Value | None) -> tuple[ir.Value, Array] | None:
    """The scale of x as a value, and that of w as an array."""
    maker = producer(x)
    if maker is None or factor is None:
        return None
    if is_op(maker, "QuantizeLinear"):
        scale, total = settled(get_input(maker, 1)), settled(factor)
        value = get_input(maker, 1)
        if scale is None or total is None or value is None or scale.size != 1:
            return None
        return value, total.astype(np.float64) / scale.astype(np.float64).reshape(())
    product = factor.producer()
    if not is_op(maker, "DynamicQuantizeLinear") or product is None or not is_op(product, "Mul"):
        return None
    dynamic = maker.outputs[1]
    other = [v for v in product.inputs if v is not dynamic]
    static = settled(other[0]) if len(other) == 1 else None
    return None if static is None else (dynamic, static)


def _dequantize(
    codes: ir.Value, scale: ir.Value, zero_point: ir.Value | None, axis: int | None, rw: Rewriter
) -> ir.Value:
    attributes = {} if axis is None else {"axis": axis}
    if axis is not None and (zero := settled(zero_point)) is not None and zero.ndim == 0 and scale.shape:
        spread = np.broadcast_to(zero, (int(scale.shape.numpy()[0]),))
        zero_point = rw.const(spread, f"{codes.name}_zero_point")
    inputs = [codes, scale] if zero_point is None else [codes, scale, zero_point]
    return rw.op("DequantizeLinear", inputs, attributes, like=codes, dtype=ir.DataType.FLOAT)


OPERATORS: Mapping[str, Callable[[ir.Node, Rewriter], None]] = {"ConvInteger": lift, "MatMulInteger": lift}
