"""Constant codes in types of 4 and 2 bits, where the opset has them.

    DequantizeLinear(W_q: int8, s, z: int8)  =>  DequantizeLinear(W_q: int4, s, z: int4)

The numbers stay; the file holds two or four of them in a byte. ONNX has int4 and uint4 from opset 21 on,
int2 and uint2 from opset 25 on.
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

import numpy as np
import onnx_ir as ir

from onnxq.errors import PassError
from onnxq.graph.match import constant, get_input, is_op
from onnxq.graph.opset import can_relabel, opset, relabel
from onnxq.graph.rewriter import Rewriter
from onnxq.graph.scopes import all_nodes
from onnxq.quant.qdq import qparams_of
from onnxq.words import plural

__all__ = ["Pack", "PackingWarning", "fits", "pack_constants"]


class PackingWarning(UserWarning):
    """No weight became as small as was asked for."""


class Pack(StrEnum):
    """The smallest type that codes of weights may be stored in."""

    INT8 = "int8"
    INT4 = "int4"
    INT2 = "int2"


_TYPES: Mapping[Pack, tuple[ir.DataType, ...]] = {
    Pack.INT8: (),
    Pack.INT4: (ir.DataType.INT4, ir.DataType.UINT4),
    Pack.INT2: (ir.DataType.INT2, ir.DataType.UINT2, ir.DataType.INT4, ir.DataType.UINT4),
}
"""In the order in which they are tried."""

_OPSETS = {4: 21, 2: 25}


def fits(codes: np.ndarray, pack: Pack) -> bool:
    """Whether the codes go into a type that ``pack`` allows."""
    return _smallest(codes, np.zeros((), codes.dtype), pack) is not None


def pack_constants(rw: Rewriter, pack: Pack) -> None:
    """Store constants in front of a DequantizeLinear in the smallest type that holds them.

    Raises:
        PassError: the model cannot be raised to the opset that has the type.
    """
    if not _TYPES[pack]:
        return
    found, bits = {}, {}
    for node in all_nodes(rw.model):
        codes = constant(get_input(node, 0)) if is_op(node, "DequantizeLinear") else None
        qparams = qparams_of(node) if codes is not None else None
        if codes is None or qparams is None or codes.dtype != qparams.format.dtype:
            continue
        if (dtype := _smallest(codes, qparams.zero_point, pack)) is not None:
            found[node] = (codes, qparams.zero_point, dtype)
        if codes.ndim > 1:  # a weight
            bits[node] = 8 * codes.dtype.itemsize if dtype is None else dtype.bitwidth
    _say_what_is_wide(rw, pack, bits)
    if not found:
        return
    _raise_opset(rw, max(_OPSETS[dtype.bitwidth] for _, _, dtype in found.values()))
    for node, (codes, zero_point, dtype) in found.items():
        name = node.outputs[0].name or "weight"
        rw.set_input(node, 0, rw.const(codes.astype(dtype.numpy()), f"{name}_packed"))
        rw.set_input(node, 2, rw.const(zero_point.astype(dtype.numpy()), f"{name}_packed_zero_point"))


def _say_what_is_wide(rw: Rewriter, pack: Pack, bits: Mapping[ir.Node, int]) -> None:
    """Skip the weights that take more bits than was asked for, and warn if all do."""
    wanted = _TYPES[pack][0].bitwidth
    wide = {node: size for node, size in bits.items() if size > wanted}
    for node, size in wide.items():
        rw.skip(node, f"the codes in front of it take {size} bits")
    if len(wide) < len(bits):
        return
    counts = Counter(wide.values()).items()
    taken = ", ".join(f"{plural(count, 'weight')} with {size} bits" for size, count in counts)
    warnings.warn(
        f"fold-fake-quant: pack={pack} finds no weight whose codes fit into {wanted} bits, but "
        f"{taken or 'no weights in codes at all'}; insert-qdq{{weight=int{wanted}}} rounds them to so many",
        PackingWarning,
        stacklevel=2,
    )


def _smallest(codes: np.ndarray, zero_point: np.ndarray, pack: Pack) -> ir.DataType | None:
    low = min(int(codes.min(initial=0)), int(zero_point.min(initial=0)))
    high = max(int(codes.max(initial=0)), int(zero_point.max(initial=0)))
    for dtype in _TYPES[pack]:
        bits, signed = dtype.bitwidth, dtype.is_signed()
        first, last = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        if first <= low and high <= last and codes.ndim:
            return dtype
    return None


def _raise_opset(rw: Rewriter, version: int) -> None:
    if opset(rw.model) >= version:
        return
    if reasons := can_relabel(rw.model, version):
        raise PassError(
            f"fold-fake-quant: packed codes need opset {version}, but the model cannot be raised: "
            f"{reasons[0]}"
        )
    relabel(rw.model, version)
    rw.adopt(rw.model)
