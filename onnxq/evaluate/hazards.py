"""What makes an integer graph slow or wrong although every node fused."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.evaluate.fusion.verdict import Verdict
from onnxq.graph.match import constant, consumers, get_input, is_op, producer
from onnxq.graph.numeric import IntArray
from onnxq.quant.operators import LINEAR, bias_add, operands
from onnxq.quant.qdq import dequantized
from onnxq.targets.target import Target
from onnxq.words import plural

__all__ = ["Hazard", "hazards", "saturating_pairs"]

_EXACT = 1e-6
"""How far a bias scale may lie from s_x·s_w, relatively: the product of two float32 rounds by less."""


@dataclass(frozen=True)
class Hazard:
    """One warning: where, what kind, and a sentence with what to do."""

    node: str
    kind: str
    text: str


def hazards(verdicts: Mapping[ir.Node, Verdict], target: Target) -> Iterator[Hazard]:
    """Warnings for the integer nodes of a model, and for float nodes between integer ones."""
    for node, verdict in verdicts.items():
        if is_op(node, *LINEAR):
            yield from _bias_scale(node)
            if verdict.integer:
                yield from _slow(node, verdict, target)
                yield from _saturation(node, verdict, target)
        if not verdict.integer:
            yield from _island(node, verdict, verdicts)


def _bias_scale(node: ir.Node) -> Iterator[Hazard]:
    add, index = bias_add(node), operands(node).bias
    holder = add if add is not None else node
    if add is not None:
        index = 1 if add.inputs[0] is node.outputs[0] else 0
    bias = None if index is None else dequantized(get_input(holder, index))
    x, w = dequantized(get_input(node, 0)), dequantized(get_input(node, 1))
    if bias is None or x is None or w is None:
        return
    wanted = x[1].scale.astype(np.float64) * w[1].scale.astype(np.float64)
    found = bias[1].scale.astype(np.float64)
    off = found.shape != wanted.shape and found.size != 1 and wanted.size != 1
    if off or np.any(np.abs(found - wanted) > _EXACT * wanted) or bias[1].zero_point.any():
        yield Hazard(
            _name(node),
            "bias scale",
            "its int32 bias is not at scale s_x·s_w with zero point 0: in Gemm and MatMul ONNX Runtime takes "
            "that for granted and computes wrong numbers, in Conv it goes to float; run fold-fake-quant",
        )


def _slow(node: ir.Node, verdict: Verdict, target: Target) -> Iterator[Hazard]:
    if verdict.kernel in target.slow:
        yield Hazard(
            _name(node),
            "slow kernel",
            f"the {verdict.kernel} kernel is slower than float on this target; quantize activations to uint8",
        )


def _saturation(node: ir.Node, verdict: Verdict, target: Target) -> Iterator[Hazard]:
    weight = dequantized(get_input(node, 1))
    if not target.saturates or verdict.kernel != "uint8*int8" or weight is None:
        return
    codes = constant(weight[0].inputs[0])
    count = 0 if codes is None or codes.dtype != np.int8 else saturating_pairs(node, codes)
    if count:
        yield Hazard(
            _name(node),
            "saturation",
            f"{plural(count, 'pair')} of neighbouring weights can exceed int16 together with uint8 "
            "activations, and are cut off on CPUs without VNNI; use 7-bit weights (target ort-x86-avx2)",
        )


def saturating_pairs(node: ir.Node, codes: IntArray) -> int:
    """How many pairs of weights can leave int16 with activations of 0 … 255.

        255 · (max(w_0, 0) + max(w_1, 0)) > 32767    or    255 · (min(w_0, 0) + min(w_1, 0)) < −32768

    Pairs are neighbours in the order of summation: input channels, then kernel, as the kernels pack them.
    Convolutions with one channel a group use other instructions.
    """
    if is_op(node, "Conv", "ConvTranspose"):
        if is_op(node, "ConvTranspose") or codes.shape[1] == 1:
            return 0
        rows = np.moveaxis(codes, 1, -1).reshape(codes.shape[0], -1)
    elif is_op(node, "Gemm") and node.attributes.get_int("transB", 0) == 1:
        rows = codes
    else:
        rows = np.swapaxes(codes, -1, -2) if codes.ndim > 1 else codes[np.newaxis]
        rows = rows.reshape(-1, rows.shape[-1])
    wide = rows[:, : rows.shape[1] // 2 * 2].astype(np.int32).reshape(rows.shape[0], -1, 2)
    above = np.maximum(wide, 0).sum(axis=2) * 255 > 32767
    below = np.minimum(wide, 0).sum(axis=2) * 255 < -32768
    return int(np.count_nonzero(np.logical_or(above, below)))


def _island(node: ir.Node, verdict: Verdict, verdicts: Mapping[ir.Node, Verdict]) -> Iterator[Hazard]:
    makers = [_behind(producer(v)) for v in node.inputs if v is not None and constant(v) is None]
    readers = [after for output in node.outputs for r in consumers(output) for after in _after(r)]
    around = [n for n in (*makers, *readers) if n is not None]
    if not makers or not readers or None in makers:
        return
    if all(n in verdicts and verdicts[n].integer for n in around):
        fix = f"; {verdict.fix}" if verdict.fix else ""
        yield Hazard(_name(node), "float island", f"float between integer nodes: {verdict.pattern}{fix}")


def _behind(node: ir.Node | None) -> ir.Node | None:
    while node is not None and is_op(node, "QuantizeLinear", "DequantizeLinear"):
        node = producer(node)
    return node


def _after(node: ir.Node) -> list[ir.Node]:
    if not is_op(node, "QuantizeLinear", "DequantizeLinear"):
        return [node]
    return [found for reader in consumers(node.outputs[0]) for found in _after(reader)]


def _name(node: ir.Node) -> str:
    return node.name or next((output.name for output in node.outputs if output.name), "") or node.op_type
