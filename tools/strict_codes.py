"""A strict integer model held against the Q/DQ graph that it is lowered from: code by code.

Three witnesses: the codes of the outputs, each layer's own codes, and onnx.reference. Float32 decides a sum
within a few millionths of a tie by its own rounding; behind many layers one such code has changed many, in
any other order of summation too. So the outputs tell how far two runs drift apart, and layers that are given
the same codes whether the arithmetic is the same.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops import op_max_pool
from runtimes.qdq import codes_of, ended_at, layers
from zoo_loader import Feeds

from onnxq.data.codes import convert, read_codes
from onnxq.graph.numeric import Array
from onnxq.runtime import Session

__all__ = ["Agreement", "by_layer", "counterparts", "equals_reference", "feeds_for", "outputs", "retyped"]


@dataclass(frozen=True)
class Agreement:
    """The share of equal codes, and how far the others are off at most."""

    share: float
    largest: int

    def __str__(self) -> str:
        # Cut, not rounded: what is not all equal never reads as 100 %.
        return f"{math.floor(1e6 * self.share) / 1e4:.4f} %, {self.largest}"


def feeds_for(session: Session, sample: Feeds) -> dict[str, Array]:
    """A sample of real numbers as a model takes it: as codes where its inputs are integers."""
    return {
        port.name: convert(
            np.asarray(sample[port.name]), port.dtype, read_codes(session.metadata, port.name), port.name
        )
        for port in session.inputs
    }


def outputs(qdq: Session, strict: Session, other: Session, samples: Sequence[Feeds]) -> Agreement:
    """How many output codes of ``other`` are those of ``qdq``; ``strict`` says what the codes are.

    ``other`` may be ``strict`` itself, or ``qdq`` in other kernels. Floats become codes by the parameters of
    the strict model's outputs; what is an integer in all of them, such as a label, counts as it is.
    """
    apart = []
    for sample in samples:
        expected, found = (session.run(feeds_for(session, sample)) for session in (qdq, other))
        for port in strict.outputs:
            codes = read_codes(strict.metadata, port.name)
            pair = (
                convert(run[port.name], port.dtype, codes, port.name).astype(np.int64)
                for run in (expected, found)
            )
            apart.append(np.abs(np.subtract(*pair)).reshape(-1))
    return _agreement(apart)


def counterparts(qdq: onnx.ModelProto, strict: onnx.ModelProto) -> dict[str, str]:
    """The codes of a Q/DQ graph, and which value of the strict model holds each.

    Names stay when a graph is lowered; codes of which a float output is made become that output. Those of an
    input are no layer's, and those that two operators merged over are nowhere: both are left out.
    """
    made = {name for node in strict.graph.node for name in node.output}
    inputs = {value.name for value in qdq.graph.input}
    ends = {value.name for value in qdq.graph.output}
    first = {node.output[0] for node in qdq.graph.node if node.input[:1] and node.input[0] in inputs}
    last = {
        node.input[0]: node.output[0]
        for node in qdq.graph.node
        if node.op_type == "DequantizeLinear" and node.output[0] in ends
    }
    found = {code: last.get(code, code) for code in codes_of(qdq) if code not in first}
    return {code: value for code, value in found.items() if value in made}


def retyped(codes: Array, dtype: np.dtype[np.generic]) -> Array:
    """Codes in the other signedness: scale and what they stand for stay, the zero point moves along."""
    shift = int(np.iinfo(dtype.name).min) - int(np.iinfo(codes.dtype.name).min)
    return np.asarray(codes.astype(np.int64) + shift, dtype)


def by_layer(
    qdq: onnx.ModelProto, strict: onnx.ModelProto, samples: Sequence[Feeds]
) -> tuple[Agreement, int]:
    """The codes that each layer of ``strict`` and of ``qdq`` makes of the same codes; how many layers.

    ONNX Runtime computes every layer of the Q/DQ graph, as it is written, on the codes that the strict model
    has there.
    """
    pairs = counterparts(qdq, strict)
    session = Session(strict, optimize=False, threads=1, extra_outputs=list(pairs.values()))
    tapped = ended_at(qdq, list(pairs))
    types = {
        value.name: np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        for value in tapped.graph.output
    }
    runs = [session.run(feeds_for(session, sample)) for sample in samples]
    found = [np.stack([retyped(run[pairs[code]], types[code]) for run in runs]) for code in types]
    given = {value.name for value in tapped.graph.input}
    feeds = {name: np.stack([sample[name] for sample in samples]) for name in samples[0] if name in given}
    return Agreement(*layers(tapped, feeds, found)), len(pairs)


class MaxPool(op_max_pool.MaxPool):
    """onnx.reference's own, for codes too: it pads with NaN, which float64 has, and all 32-bit integers."""

    op_domain = ""

    def _run(self, x: Any, *inputs: Any, **attributes: Any) -> Any:  # type: ignore[override]
        found = super()._run(x.astype(np.float64), *inputs, **attributes)  # type: ignore[no-untyped-call]
        return tuple(array.astype(x.dtype) for array in found)


def equals_reference(strict: onnx.ModelProto, samples: Sequence[Feeds]) -> Iterator[bool]:
    """Of each sample: does ONNX Runtime, optimizations on, give onnx.reference's outputs bit for bit?"""
    reference, session = ReferenceEvaluator(strict, new_ops=[MaxPool]), Session(strict)
    for sample in samples:
        feeds = feeds_for(session, sample)
        found: Mapping[str, Array] = session.run(feeds)
        expected = zip(found, reference.run(list(found), feeds), strict=True)
        yield all(
            array.dtype == found[name].dtype and np.array_equal(array, found[name])
            for name, array in expected
        )


def _agreement(apart: Sequence[Array]) -> Agreement:
    every = np.concatenate(apart)
    return Agreement(float(np.mean(every == 0)), int(every.max(initial=0)))
