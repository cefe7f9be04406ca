"""Q/DQ that a model brings along: its ranges win over whatever is asked for, and that is worth saying."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constant, is_op, producer
from onnxq.graph.scopes import all_nodes
from onnxq.quant.formats import IntFormat
from onnxq.quant.operators import LINEAR, operands
from onnxq.quant.qdq import dequantized, qparams_of, through_fake_quant
from onnxq.quant.qparams import QParams
from onnxq.quant.recipe import FLOAT, Choices, Wish
from onnxq.words import listed

__all__ = ["Trained", "TrainedGridWarning", "say_what_stays", "trained_qparams", "trained_values"]


class TrainedGridWarning(UserWarning):
    """Something was asked for values that have Q/DQ already, and keep it."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A value in front of a Q/DQ pair, or one that is stored in codes.

    ``readers`` read it behind the pair, ``weighed`` of them as their weight. ``clipped``: a Clip keeps the
    codes of a narrow format within it.
    """

    value: ir.Value
    qparams: QParams
    readers: tuple[ir.Node, ...]
    weighed: tuple[ir.Node, ...]
    clipped: bool

    def __str__(self) -> str:
        return f"'{self.value.name}' ({self.qparams.format})"

    def holds(self, fmt: IntFormat) -> bool:
        """Whether its codes are those of a format."""
        stored = self.qparams.format
        if fmt.dtype != stored.dtype:
            return False
        array = constant(self.value)
        if array is None or not array.size:
            return fmt.bits == stored.bits or self.clipped
        codes = array if array.dtype.kind != "f" else self.qparams.quantize(array)
        return bool(fmt.qmin <= codes.min() and codes.max() <= fmt.qmax)


def trained_qparams(value: ir.Value) -> QParams | None:
    """The parameters of the Q/DQ that is on a value already."""
    if (found := dequantized(value)) is not None:
        return found[1]
    quantize = next((use.node for use in value.uses() if is_op(use.node, "QuantizeLinear")), None)
    return None if quantize is None else qparams_of(quantize)


def trained_values(model: ir.Model) -> Iterator[Trained]:
    """Every activation and every weight with Q/DQ, once."""
    seen: set[ir.Value] = set()
    for node in all_nodes(model):
        qparams = qparams_of(node) if is_op(node, "DequantizeLinear") else None
        source = None if qparams is None else _real(node.outputs[0])
        if qparams is None or source is None or source in seen:
            continue
        seen.add(source)
        uses = list(node.outputs[0].uses())
        weighed = tuple(use.node for use in uses if use.idx == operands(use.node).weight)
        if weighed or constant(source) is None:
            readers = tuple(use.node for use in uses)
            yield Trained(source, qparams, readers, weighed, is_op(producer(node), "Clip"))


def say_what_stays(model: ir.Model, asked: Wish, others: str | None, choices: Choices, options: str) -> None:
    """Warn of the values whose grid is another than is asked for; ``options`` is what asks, as text.

    ``asked`` is for all of the model, ``others`` the dtype of what no linear operator reads; the rules of a
    recipe come before both.
    """
    found = [t for t in trained_values(model) if _defies(t, _asked(t, asked, others), choices)]
    if found:
        warnings.warn(
            f"{len(found)} of the model's activations and weights keep the Q/DQ that they came with, as "
            f"after training, whatever {options} asks for: {listed(map(str, found))}; else start from the "
            "float model",
            TrainedGridWarning,
            stacklevel=2,
        )


def _asked(found: Trained, asked: Wish, others: str | None) -> Wish:
    multiplied = any(is_op(node, *LINEAR) for node in found.readers)
    return asked if others is None or multiplied else replace(asked, dtype=others)


def _defies(found: Trained, asked: Wish, choices: Choices) -> bool:
    if found.weighed:
        return any(_weight_differs(found, choices.of_node(node).over(asked)) for node in found.weighed)
    maker = producer(found.value)
    alone = maker is not None and operands(maker).weight is None and choices.of_node(maker).is_float
    return alone or _activation_differs(found, choices.of_value(found.value).over(asked))


def _weight_differs(found: Trained, wish: Wish) -> bool:
    per_channel = found.qparams.axis is not None
    other_format = wish.weight is not None and not found.holds(IntFormat.parse(wish.weight))
    return wish.dtype == FLOAT or other_format or wish.per_channel not in (None, per_channel)


def _activation_differs(found: Trained, wish: Wish) -> bool:
    fmt, qparams = wish.format, found.qparams
    middle = 0 if qparams.format.signed else 1 << (qparams.format.bits - 1)
    return (
        wish.is_float
        or (fmt is not None and not found.holds(fmt))
        or (wish.symmetric is True and bool(np.any(qparams.zero_point != middle)))
        or wish.range is not None
    )


def _real(value: ir.Value) -> ir.Value:
    """What lies before a pair, and before the Clip that may stand in it."""
    source = through_fake_quant(value) or value
    quantize = producer(producer(source, 0, "Clip"), 0, "QuantizeLinear")
    return source if quantize is None else _real(quantize.outputs[0])
