"""Reading the numbers of a fake-quantizer: constants, and what is computed from nothing but constants.

Exporters leave ``Identity``, ``Abs`` (a learned scale is kept positive), ``Reshape`` or ``Exp`` between a
parameter and its reader, and whole formulas between a float weight and its rounding. They are computed here,
in the dtype of the file, so that a fake-quantizer can be read before constants are folded: a general folder
would also fold the fake-quantized weight to float, and its scale would be lost.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, get_input, is_op, rank
from onnxq.graph.numeric import Array, FloatArray
from onnxq.graph.rewriter import Rewriter

__all__ = ["EVALUATED", "Refused", "channel_axis", "floats", "opset", "required", "settled", "whole"]

_DEEPEST = 24
_LARGEST = 1 << 28


class Refused(Exception):
    """Why a fake-quantizer stays as it is; the pass adds the node's name."""


def settled(value: ir.Value | None) -> Array | None:
    """The array of a value that depends on constants alone; None for anything else."""
    return None if value is None else _Evaluation().array(value, 0)


class _Evaluation:
    """Computes each value once: shared parts of a formula would else be computed over and over."""

    def __init__(self) -> None:
        self._known: dict[ir.Value, Array | None] = {}

    def array(self, value: ir.Value, depth: int) -> Array | None:
        if value not in self._known:
            found = constant(value)
            self._known[value] = found if found is not None else self._computed(value, depth)
        return self._known[value]

    def _computed(self, value: ir.Value, depth: int) -> Array | None:
        node = value.producer()
        if node is None or depth > _DEEPEST or not is_op(node, *_EVALUATE) or value is not node.outputs[0]:
            return None
        given = [None if source is None else self.array(source, depth + 1) for source in node.inputs]
        arrays = [array for array in given if array is not None]
        if len(arrays) != len(given) or not arrays or not _fits(node, arrays):
            return None
        with np.errstate(all="ignore"):
            result = np.asarray(_EVALUATE[node.op_type](node, arrays))
        return result if is_op(node, "Cast") else result.astype(arrays[0].dtype, copy=False)


def _fits(node: ir.Node, arrays: list[Array]) -> bool:
    """Whether the result is of a size that a model may ask for: broadcasting can make any."""
    if not is_op(node, *_BROADCASTING):
        return arrays[0].size <= _LARGEST
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        return False
    return math.prod(shape) <= _LARGEST


def required(node: ir.Node, index: int, what: str) -> FloatArray:
    """A constant input as float64, of rank 0 where it has one element.

    Raises:
        Refused: it is absent, computed at run time, or not finite.
    """
    value = get_input(node, index)
    if value is None:
        raise Refused(f"it has no {what}: its input {index} is missing")
    array = settled(value)
    if array is None:
        raise Refused(f"its {what} is computed at run time: it stays dynamic")
    return floats(array, what)


def floats(array: Array, what: str) -> FloatArray:
    """A parameter as float64, of rank 0 where it has one element.

    Raises:
        Refused: it is empty or not finite.
    """
    found = array.astype(np.float64)
    if not found.size or not np.isfinite(found).all():
        raise Refused(f"its {what} is empty, infinite or not a number; train or calibrate it again")
    return found.reshape(()) if found.size == 1 else found


def whole(array: FloatArray, what: str) -> int:
    """The one whole number that a parameter holds.

    Raises:
        Refused: it holds several different ones, or fractions.
    """
    number = float(array.reshape(-1)[0])
    if np.ptp(array) or number != round(number):
        raise Refused(f"its {what} must be one whole number, found {np.unique(array)[:4].tolist()}")
    return int(number)


def channel_axis(x: ir.Value, *params: Array, axis: int | None = None) -> tuple[int | None, list[FloatArray]]:
    """Parameters that broadcast against ``x`` as rank 0 or [C] along one axis, and that axis.

    Raises:
        Refused: they vary along several axes, or the rank of x is not known.
    """
    axes = rank(x)
    sizes = {array.shape for array in params if array.size > 1}
    if not sizes:
        return None, [array.astype(np.float64).reshape(()) for array in params]
    for shape in sizes if axis is None else ():
        if axes is None:
            raise Refused("it has one scale per channel and the rank of its input is not known: infer-shapes")
        varying = [i - len(shape) + axes for i, n in enumerate(shape) if n > 1]
        if len(varying) != 1 or len(shape) > axes or axis not in (None, varying[0]):
            raise Refused(f"its parameters of shape {list(shape)} do not lie along one axis of its input")
        axis = varying[0]
    count = max(array.size for array in params)
    if any(array.size not in (1, count) for array in params):
        raise Refused(
            f"its parameters have {sorted({a.size for a in params})} entries; expected one number each"
        )
    return axis, [np.broadcast_to(a.astype(np.float64).reshape(-1), (count,)) for a in params]


def opset(rw: Rewriter) -> int:
    """The version of ai.onnx that the model is written in; 0 if it is not said."""
    imports = rw.model.opset_imports
    return imports.get("", imports.get("ai.onnx", 0))


def _axes(node: ir.Node, arrays: list[Array]) -> tuple[int, ...] | None:
    given = node.attributes.get("axes")
    found = list(given.as_ints()) if given is not None else arrays[1].tolist() if len(arrays) > 1 else None
    return None if found is None else tuple(found)


def _reduce(function: Callable[..., Array]) -> Callable[[ir.Node, list[Array]], Array]:
    def evaluate(node: ir.Node, arrays: list[Array]) -> Array:
        keep = bool(node.attributes.get_int("keepdims", 1))
        return np.asarray(function(arrays[0], axis=_axes(node, arrays), keepdims=keep))

    return evaluate


def _plain(function: Callable[..., Array]) -> Callable[[ir.Node, list[Array]], Array]:
    return lambda node, arrays: function(*arrays)


def _reshape(node: ir.Node, arrays: list[Array]) -> Array:
    shape = [arrays[0].shape[i] if n == 0 else n for i, n in enumerate(arrays[1].tolist())]
    return arrays[0].reshape(shape)


def _unsqueeze(node: ir.Node, arrays: list[Array]) -> Array:
    return np.expand_dims(arrays[0], _axes(node, arrays) or ())


def _transpose(node: ir.Node, arrays: list[Array]) -> Array:
    perm = node.attributes.get("perm")
    return np.transpose(arrays[0], None if perm is None else tuple(perm.as_ints()))


def _cast(node: ir.Node, arrays: list[Array]) -> Array:
    return arrays[0].astype(ir.DataType(node.attributes.get_int("to", 1)).numpy())


def _clip(node: ir.Node, arrays: list[Array]) -> Array:
    return np.clip(arrays[0], arrays[1], arrays[2]) if len(arrays) == 3 else np.maximum(arrays[0], arrays[1])


_EVALUATE: Mapping[str, Callable[[ir.Node, list[Array]], Array]] = {
    "Abs": _plain(np.abs),
    "Add": _plain(np.add),
    "Cast": _cast,
    "Clip": _clip,
    "Div": _plain(np.divide),
    "Exp": _plain(np.exp),
    "Identity": lambda node, arrays: arrays[0],
    "Max": lambda node, arrays: np.asarray(np.maximum.reduce(np.broadcast_arrays(*arrays))),
    "Min": lambda node, arrays: np.asarray(np.minimum.reduce(np.broadcast_arrays(*arrays))),
    "Mul": _plain(np.multiply),
    "Neg": _plain(np.negative),
    "Pow": _plain(np.power),
    "Reciprocal": _plain(np.reciprocal),
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "Reshape": _reshape,
    "Round": _plain(np.rint),
    "Sqrt": _plain(np.sqrt),
    "Squeeze": lambda node, arrays: np.squeeze(arrays[0], _axes(node, arrays)),
    "Sub": _plain(np.subtract),
    "Tanh": _plain(np.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

_BROADCASTING = ("Add", "Clip", "Div", "Max", "Min", "Mul", "Pow", "Sub")

EVALUATED = frozenset(_EVALUATE)
"""The operators that are computed here."""
