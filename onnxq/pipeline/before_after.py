"""A model between two passes, and a sample of it before and after one: where do they differ first?

Models run in ONNX Runtime with all optimizations off, so that the graph is computed as it is written.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxq.data.codes import Codes, convert, read_codes
from onnxq.data.samples import Sample
from onnxq.errors import ModelError
from onnxq.graph.match import is_op, scalar
from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import describe
from onnxq.graph.scopes import all_nodes
from onnxq.pipeline.base import Contract
from onnxq.pipeline.contracts import Limits, Scales, complaint
from onnxq.pipeline.layerwise import is_code, run_layers
from onnxq.runtime import Session

__all__ = ["Pair", "State", "as_float"]

_TAPS_AT_ONCE = 64
"""How many intermediate values are held in memory while the first difference is searched."""

_VIEWS = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")
"""Operators that leave every number as it is."""


class State:
    """A model between two passes and its outputs, or the reason why there are none."""

    def __init__(self, model: ir.Model, samples: Sequence[Sample]) -> None:
        self.model = model.clone()
        self.failure = ""
        self.quantized = any(is_op(node, "QuantizeLinear") for node in all_nodes(model))
        self.feeds: list[dict[str, Array]] = []
        self.outputs: list[dict[str, Array]] = []
        try:
            self.session = Session(self.model, optimize=False, threads=1)
            self.feeds = [self._feeds(sample.feeds) for sample in samples]
            self.outputs = [_arrays(self.session.run(feeds)) for feeds in self.feeds]
        except ModelError as error:
            self.failure = str(error)

    def codes(self, name: str) -> Codes | None:
        """What the integers of an input or output stand for, where the metadata says so."""
        return read_codes(self.model.metadata_props, name)

    def step(self, name: str) -> float | None:
        """The scale of the DequantizeLinear that makes an output, if it is one number."""
        value = next((output for output in self.model.graph.outputs if output.name == name), None)
        node = value.producer() if value is not None else None
        while is_op(node, *_VIEWS) and node is not None and node.inputs[0] is not None:
            node = node.inputs[0].producer()
        return scalar(node.inputs[1]) if node is not None and is_op(node, "DequantizeLinear") else None

    def _feeds(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays as this model takes them: as codes, if that is what its inputs have become."""
        return {
            port.name: convert(given[port.name], port.dtype, self.codes(port.name), f"input '{port.name}'")
            for port in self.session.inputs
            if port.name in given
        }


class Pair:
    """One sample before and after a pass, fed with the same numbers."""

    def __init__(self, was: State, now: State, index: int, contract: Contract, limits: Limits) -> None:
        self._was, self._now, self._contract, self._limits = was, now, contract, limits
        self._fed, self._fed_after = was.feeds[index], now.feeds[index]
        self.before, self.after = was.outputs[index], now.outputs[index]
        if any(array.dtype != self._fed[name].dtype for name, array in self._fed_after.items()):
            # What the model reads as codes now was rounded: the model before has to read the same numbers.
            rounded = {n: as_float(a, self._fed[n], now.codes(n)) for n, a in self._fed_after.items()}
            self._fed = {**self._fed, **rounded}
            self.before = _arrays(was.session.run(self._fed))

    def complaint(self, name: str, was: Array, now: Array | None) -> str:
        """How a value breaks the contract; empty if it keeps it."""
        if now is None:
            return "does not exist any more"
        step = self._was.step(name) or self._now.step(name)
        return self._judge(was, now, self._now.codes(name), step)

    def blame(self) -> str:
        """A sentence on where the contract is broken; empty if every layer by itself keeps it."""
        names = self._common_names()
        try:
            codes, found = self._search(names)
            quantized = self._contract is Contract.INTEGER_EXACT or self._was.quantized
            if codes and quantized and not (found := self._search_layers(codes)):
                return ""
        except ModelError as error:
            return f"Values in between cannot be read: {error}"
        if not found:
            return "No value in between that both models have differs"
        name, how = found
        given = " although the codes before it are the same" if codes and quantized else ""
        return f"The first value that differs{given} is '{name}', made by {self._maker(name)}: it {how}"

    def _search(self, names: Sequence[str]) -> tuple[dict[str, Array], tuple[str, str] | None]:
        """The codes that both models have, as computed before the pass, and the first value that differs."""
        sessions = [
            Session(state.model, optimize=False, threads=1, extra_outputs=names)
            for state in (self._was, self._now)
        ]
        codes: dict[str, Array] = {}
        first = None
        for start in range(0, len(names), _TAPS_AT_ONCE):
            some = names[start : start + _TAPS_AT_ONCE]
            before = sessions[0].run(self._fed, some)
            after = sessions[1].run(self._fed_after, some)
            for name in some:
                comparable = before[name].dtype == after[name].dtype
                if comparable and is_code(before[name]):
                    codes[name] = before[name]
                if first is None and (comparable or self._now.codes(name)):
                    found = self.complaint(name, before[name], after[name])
                    first = (name, found) if found else None
        return codes, first

    def _search_layers(self, codes: Mapping[str, Array]) -> tuple[str, str] | None:
        made = run_layers(self._now.model, codes, self._fed_after)
        for name, was in codes.items():
            if found := self._judge(was, made[name], Codes(1.0, 0), None):
                return name, found
        for name, was in self.before.items():
            if name not in codes and (found := self.complaint(name, was, made.get(name))):
                return name, found
        return None

    def _judge(self, was: Array, now: Array, codes: Codes | None, step: float | None) -> str:
        return complaint(self._contract, was, now, Scales(codes, step, self._was.quantized), self._limits)

    def _common_names(self) -> list[str]:
        """Values that nodes of the main graph make in both models, in the order of the later one."""
        known = {value.name for node in self._was.model.graph for value in node.outputs if _is_tensor(value)}
        made = (value for node in self._now.model.graph for value in node.outputs if _is_tensor(value))
        return [value.name for value in made if value.name and value.name in known]

    def _maker(self, name: str) -> str:
        nodes = (node for node in self._now.model.graph if name in (v.name for v in node.outputs))
        return next((describe(node) for node in nodes), "nothing")


def as_float(array: Array, like: Array, codes: Codes | None) -> Array:
    """Codes as the numbers they stand for, where ``like`` has numbers."""
    if array.dtype == like.dtype or codes is None:
        return array
    return codes.dequantize(array).astype(like.dtype)


def _arrays(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors among the outputs: sequences and maps, the end of many classical models, are left out."""
    return {name: value for name, value in outputs.items() if isinstance(value, np.ndarray)}


def _is_tensor(value: ir.Value) -> bool:
    return value.type is None or (isinstance(value.type, ir.TensorType) and value.dtype != ir.DataType.STRING)
