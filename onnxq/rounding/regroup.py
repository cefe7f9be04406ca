"""Scales for blocks of inputs: the blocked Q/DQ of opset 21.

    s_nb = max |W_nk| / (2^(bits−1) − 1)      over the inputs k of block b, for each output n

With few bits a large weight then costs the others of its block their precision, not all of the output. Codes
of 4 bits and fewer are stored as INT4, whose products ONNX Runtime computes in float; 8-bit codes that meet
8-bit data it multiplies as integers, for which it knows one scale an output only.
"""

import warnings
from collections import Counter

import numpy as np
import onnx_ir as ir

from onnxq.errors import ModelError
from onnxq.graph.match import is_op, producer, sole_consumer
from onnxq.graph.numeric import FloatArray
from onnxq.graph.opset import can_relabel, opset, relabel
from onnxq.graph.rewriter import Rewriter
from onnxq.quant.qparams import SMALLEST_SCALE
from onnxq.rounding.sites import Site
from onnxq.rounding.steps import Steps

__all__ = ["GroupWarning", "regroup"]


class GroupWarning(UserWarning):
    """No weight got scales for blocks, although that was asked for."""


_OPSET = 21

_LARGEST_INT4 = 7


def regroup(sites: list[tuple[Site, Steps]], size: int, rw: Rewriter) -> None:
    """Give the pairs of some layers scales for blocks of ``size`` inputs; others are skipped with a reason.

    If that is all of them, a warning says so.

    Raises:
        ModelError: the model cannot be raised to opset 21.
    """
    able = []
    reasons: Counter[str] = Counter()
    for site, steps in sites:
        if (reason := _refused(site, steps, size)) is None:
            able.append((site, steps))
        else:
            rw.skip(site.node, reason)
            reasons[reason] += 1
    if not able:
        listed = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
        warnings.warn(
            f"round-weights: group={size} is for none of the weights ({listed or 'there is none to round'})",
            GroupWarning,
            stacklevel=2,
        )
        return
    if opset(rw.model) < _OPSET:
        if objections := can_relabel(rw.model, _OPSET):
            raise ModelError(
                f"scales for blocks need opset {_OPSET}, but the model cannot be raised: {objections[0]}"
            )
        relabel(rw.model, _OPSET)
        rw.adopt(rw.model)
    for site, steps in able:
        _regroup(site, steps, size, rw)


def _refused(site: Site, steps: Steps, size: int) -> str | None:
    inputs = site.real.shape[2]
    if not _fits_4_bits(steps) and producer(site.node, 0, "DequantizeLinear") is not None:
        return "its data is quantized, and ONNX Runtime multiplies it with blocks of 4 bits or fewer only"
    if is_op(site.node, "Conv"):
        return "its weight is a filter, and blocks are of the inputs of a matrix"
    if not site.qparams.format.signed or site.qparams.zero_point.any():
        return "its weight has zero points"
    return f"its {inputs} inputs are no multiple of {size}" if inputs % size else None


def _regroup(site: Site, steps: Steps, size: int, rw: Rewriter) -> None:
    largest = np.abs(site.real[0]).reshape(site.outputs, -1, size).max(axis=2)
    scale = largest / float(np.max(steps.high))
    array = _laid_out(site, np.where(scale > SMALLEST_SCALE, scale, 1.0)).astype(np.float32)
    back = sole_consumer(site.quantize.outputs[0])
    assert back is not None, "a site's pair has no other reader"
    kind = ir.DataType.INT4 if _fits_4_bits(steps) else site.qparams.format.ir_dtype
    zero = np.zeros(array.shape, kind.numpy())
    values = rw.const(array, f"{site.name}_scale"), rw.const(zero, f"{site.name}_zero_point")
    rw.set_type(site.quantize.outputs[0], kind)
    for node in (site.quantize, back):
        for index, value in enumerate(values, 1):
            rw.set_input(node, index, value)
        rw.set_attribute(node, "axis", 1 if site.transposed else 0)
        rw.set_attribute(node, "block_size", size)


def _fits_4_bits(steps: Steps) -> bool:
    return float(np.max(steps.high)) <= _LARGEST_INT4


def _laid_out(site: Site, matrix: FloatArray) -> FloatArray:
    """[outputs, blocks] as the weight lies."""
    return np.ascontiguousarray(matrix if site.transposed else matrix.T)
