"""float16, bfloat16 and float64 become float32, the type that is quantized."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.match import is_op, producer
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import Rewriter, Skip, describe
from onnxq.graph.scopes import all_nodes, scopes
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.tensors import Slot, tensor_slots

__all__ = ["FloatsToFloat32"]

_OTHERS = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
_TYPE_ATTRIBUTES = ("to", "dtype", "output_datatype", "output_dtype", "softmax_precision")
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class FloatsToFloat32(Pass):
    """Compute in float32 what the model computes in float16, bfloat16 or float64.

           x: float16,  y = Conv(x, W: float16)
        => y = Cast<float16>(Conv(Cast<float32>(x), W: float32))

    The inputs and outputs of the model keep their types. Weights of 16 bits keep their values, those of 64
    are rounded, and saturate at ±3.4e38, which a float64 mask may exceed. Casts in between that only went
    to another float type are left as casts of float32 to itself, for ``eliminate-noop-cast``.

    Approximate, since float16 rounds after every operator and float32 does not: the outputs differ by what
    the original type loses, about 1e-3 of their largest value for float16.

    Left alone is a model with functions (run ``inline-functions`` before). Raises ModelError for a BitCast of
    such a type, since its bits would be others.
    """

    name: ClassVar[str] = "floats-to-float32"
    contract: ClassVar[Contract] = Contract.APPROXIMATE

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        if rw.model.functions:
            rw.skips.append(Skip("the model", "it has functions: run inline-functions before"))
            return
        self._attributes(rw)
        public = [v for v in rw.model.graph.inputs if v.dtype in _OTHERS]
        public += [v for v in rw.model.graph.outputs if v.dtype in _OTHERS and v not in public]
        for value in public:
            if producer(value) is None:
                _cast_readers(value, rw)
            else:
                _cast_output(value, rw)
        kept = {*rw.model.graph.inputs, *rw.model.graph.outputs}
        for slot in tensor_slots(rw.model):
            if slot.tensor.dtype in _OTHERS and slot.holder not in kept:
                slot.put(_as_float32(slot))
                rw.edits += 1
        for value in _values(rw.model):
            if value.dtype in _OTHERS and value not in kept and value.type is not None:
                value.type = _float32_type(value.type)
                rw.edits += 1

    def _attributes(self, rw: Rewriter) -> None:
        """What nodes say about the types that they make; the Casts of the border were made so."""
        others = {int(dtype) for dtype in _OTHERS}
        for node in all_nodes(rw.model):
            if is_op(node, "BitCast") and any(v is not None and v.dtype in _OTHERS for v in node.inputs):
                raise ModelError(f"floats-to-float32: {describe(node)} reads the bits of another float type")
            if _is_border(node):
                continue
            for name in _TYPE_ATTRIBUTES:
                attribute = node.attributes.get(name)
                if attribute is not None and not attribute.is_ref() and attribute.value in others:
                    rw.set_attribute(node, name, int(ir.DataType.FLOAT))


def _is_border(node: ir.Node) -> bool:
    """Whether a node is a Cast from float32 to what the model gives away: nothing else reads it."""
    y = node.outputs[0]
    if not is_op(node, "Cast") or not y.is_graph_output() or y.uses():
        return False
    x = node.inputs[0]
    return x is not None and x.dtype not in _OTHERS and y.dtype in _OTHERS


def _cast_readers(value: ir.Value, rw: Rewriter) -> None:
    """x => Cast<float32>(x), for whatever reads x inside; x itself stays."""
    readers = [use.node for use in value.uses()]
    to_float = int(ir.DataType.FLOAT)
    if readers and not all(is_op(n, "Cast") and n.attributes.get_int("to") == to_float for n in readers):
        cast = rw.op("Cast", [value], {"to": to_float}, dtype=ir.DataType.FLOAT, shape=value.shape)
        rw.interpose(value, cast, readers)


def _cast_output(value: ir.Value, rw: Rewriter) -> None:
    """y => Cast<type of y>(y) for the outside; what reads y inside goes on with float32."""
    maker, kind = producer(value), value.dtype
    if kind is None or maker is None or _is_border(maker):
        return
    inside = [(use.node, use.idx) for use in value.uses()]
    cast = rw.op("Cast", [value], {"to": int(kind)}, dtype=kind, shape=value.shape)
    rw.interpose(value, cast)
    for node, index in inside:
        rw.set_input(node, index, value)


def _as_float32(slot: Slot) -> ir.TensorProtocol:
    array: Array = slot.tensor.numpy()
    infinite = np.isinf(array)
    with np.errstate(over="ignore"):
        narrowed = np.where(infinite, array, np.clip(array, -_LARGEST, _LARGEST)).astype(np.float32)
    return ir.tensor(narrowed, name=slot.tensor.name)


def _values(model: ir.Model) -> list[ir.Value]:
    """Every value of every scope."""
    found: list[ir.Value] = []
    for scope in scopes(model):
        constants = scope.graph.initializers.values() if isinstance(scope.graph, ir.Graph) else ()
        made = (output for node in scope.graph for output in node.outputs)
        found.extend((*scope.graph.inputs, *constants, *made))
    return found


def _float32_type(kind: ir.TypeProtocol) -> ir.TypeProtocol:
    """The same tensor, sequence or optional type, of float32."""
    if isinstance(kind, ir.SequenceType | ir.OptionalType):
        return type(kind)(_float32_type(kind.elem_type))
    return ir.TensorType(ir.DataType.FLOAT)
