"""The certificate of an integer model: what it adds up, and by which constants it changes scales.

Read from the graph alone, without the code that lowers and without its plans:

    accumulators   every ConvInteger, MatMulInteger, integer MatMul and ReduceSum, with the least and greatest
                   sum that the actual weights allow
    rescalings     every result of 8 or 16 bits of Mul, Add and a shift or a division: multipliers, shifts and
                   divisors of each channel, and the widest word on the way; a multiplier of 256 is that of
                   the high halves of 16-bit codes
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.evaluate.integer_only import FloatTensor, float_tensors
from onnxq.evaluate.intervals.analysis import Analysis, Finding, analyze
from onnxq.evaluate.intervals.interval import limits
from onnxq.graph.match import constant, is_op, producer
from onnxq.graph.numeric import IntArray
from onnxq.graph.scopes import all_nodes

__all__ = ["Accumulator", "Certificate", "Rescaling", "certify"]

SUMS = ("ConvInteger", "MatMul", "MatMulInteger", "ReduceSum")
CODES = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16)
ARITHMETIC = ("Add", "BitShift", "Cast", "Clip", "Div", "Max", "Min", "Mul", "Reshape", "Sub")


@dataclass(frozen=True)
class Accumulator:
    """A sum of products: least and greatest, and the bits of the register that holds it, sign included."""

    tensor: str
    op: str
    low: int
    high: int
    bits: int


@dataclass(frozen=True, eq=False)
class Rescaling:
    """How one tensor of 8 or 16 bits is made of integers.

    sources: the tensors that go in. multipliers: int64, one array a term, of one number or one a channel; two
    halves are one number. shifts: the powers of two that divide, each one number or one a channel. word: bits
    of the widest number on the way that is read as a number; what counts modulo 2^n is as long as its type.
    divisors: what divides and is no power of two, each one number or one a channel.
    """

    output: str
    sources: tuple[str, ...]
    multipliers: tuple[IntArray, ...]
    shifts: tuple[IntArray, ...]
    word: int
    divisors: tuple[IntArray, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """What is proven of a model. ``violations`` and ``floats`` must be empty; ``open`` has no proof."""

    floats: Sequence[FloatTensor]
    accumulators: Sequence[Accumulator]
    rescalings: Sequence[Rescaling]
    violations: Sequence[Finding]
    open: Sequence[Finding]

    @property
    def widest(self) -> int:
        """Bits of the widest accumulator; 0 if there is none."""
        return max((accumulator.bits for accumulator in self.accumulators), default=0)


def certify(model: ir.Model) -> Certificate:
    """The certificate of a model whose types are known."""
    analysis = analyze(model)
    nodes = list(all_nodes(model))
    return Certificate(
        float_tensors(model),
        [found for node in nodes for found in _accumulator(node, analysis)],
        [found for node in nodes for found in _rescaling(node, analysis)],
        analysis.violations,
        analysis.open,
    )


def _accumulator(node: ir.Node, analysis: Analysis) -> Iterator[Accumulator]:
    found = analysis.intervals.get(node.outputs[0]) if is_op(node, *SUMS) else None
    if found is None:
        return
    bits = max(found.bits, 1) + (found.least >= 0)
    yield Accumulator(node.outputs[0].name or "", node.op_type, found.least, found.greatest, bits)


def _rescaling(node: ir.Node, analysis: Analysis) -> Iterator[Rescaling]:
    """From a Cast to 8 or 16 bits back to what is no arithmetic any more."""
    value = node.outputs[0]
    if not is_op(node, "Cast") or value.dtype not in CODES:
        return
    multipliers: list[IntArray] = []
    shifts: list[IntArray] = []
    divisors: list[IntArray] = []
    sources: list[str] = []
    word = 0
    stack, seen = [node.inputs[0]], set[ir.Value]()
    while stack:
        current = stack.pop()
        maker = None if current is None else current.producer()
        if current is None or current in seen or constant(current) is not None:
            continue
        seen.add(current)
        if maker is None or maker.op_type not in ARITHMETIC or not _is_long(current):
            sources.append(current.name or "")
            continue
        found = analysis.intervals.get(current)
        if found is not None and found.within(limits(current.dtype).least, limits(current.dtype).greatest):
            word = max(word, found.bits)
        if (halves := _halves(maker)) is not None:
            multipliers.insert(0, halves[0])
            shifts.insert(0, halves[1])
            stack.append(halves[2])
            continue
        numbers = [array for v in maker.inputs if (array := constant(v)) is not None]
        if is_op(maker, "Mul") and numbers:
            multipliers.insert(0, _signed(numbers[0]))
        if is_op(maker, "BitShift", "Div") and (exponent := _exponent(maker)) is not None:
            shifts.insert(0, exponent)
        elif is_op(maker, "Div") and is_op(producer(maker), "Add") and numbers:
            divisors.insert(0, numbers[0].astype(np.int64))
        stack += reversed(maker.inputs)
    if multipliers and (shifts or divisors):
        found_constants = tuple(multipliers), tuple(shifts), word, tuple(divisors)
        yield Rescaling(value.name or "", tuple(sources), *found_constants)


def _halves(add: ir.Node) -> tuple[IntArray, IntArray, ir.Value] | None:
    """M, h and t of ``t·M_high + t·M_low/2^h``, with M in one piece."""
    high, divided = (producer(add, i) for i in (0, 1)) if is_op(add, "Add") else (None, None)
    if high is None or divided is None or not is_op(high, "Mul") or not is_op(divided, "Div"):
        return None
    whole = producer(divided, 0, "Sub") or divided  # what Div would cut off, taken away before
    low = producer(whole, 0, "Mul")
    exponent, t = _exponent(divided), high.inputs[0]
    parts = [None if part is None else constant(part.inputs[1]) for part in (high, low)]
    if low is None or low.inputs[0] is not t or t is None or exponent is None:
        return None
    if parts[0] is None or parts[1] is None:
        return None
    return (parts[0].astype(np.int64) << exponent) + parts[1].astype(np.int64), exponent, t


def _is_long(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_integer() and value.dtype.itemsize >= 4


def _signed(array: IntArray) -> IntArray:
    """A constant of an unsigned word as the signed number that it stands for."""
    return array.view(array.dtype.str.replace("u", "i")).astype(np.int64)


def _exponent(node: ir.Node) -> IntArray | None:
    """k of a division by 2^k; None where it divides by something else."""
    by = constant(node.inputs[1])
    if by is None or node.attributes.get_string("direction", "RIGHT") == "LEFT":
        return None
    if is_op(node, "BitShift"):  # by n − 1 it takes a sign or a parity, and rescales nothing
        return by.astype(np.int64) if int(by.max()) < 8 * by.dtype.itemsize - 1 else None
    exponent = np.rint(np.log2(np.maximum(by.astype(np.float64), 1))).astype(np.int64)
    return exponent if np.array_equal(np.int64(1) << exponent, by.astype(np.int64)) else None
