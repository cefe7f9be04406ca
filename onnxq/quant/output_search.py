"""EasyQuant: shrink the range of what a linear operator reads until its output is most like the float one.

    c* = argmax over c of  cos(R(x), R(x'_c)),     x'_c = x quantized with the range (c · low, c · high)

R is every Conv, ConvTranspose, Gemm or MatMul that the plan quantizes, with constant weights, that reads x;
the outputs of all of them over all samples count as one vector. c takes sixteen values from 1 to 1/4, low
and high are the full range. Unlike the methods that read a histogram this one weighs an error by what the
weights make of it, and it runs the model: the first eight samples once, and every R seventeen times on each.

Source: Wu et al., "EasyQuant: post-training quantization via scale optimization", 2020 (arXiv:2006.16669),
section 3.2. There scales of weights and activations are refined in turns; here the weights stay as they are,
since their ranges are found per channel from the weights themselves.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.graph.match import constant, consumers, is_op
from onnxq.graph.numeric import Array, FloatArray
from onnxq.quant.plan import Plan, ValueDecision
from onnxq.quant.qparams import qparams_from_range
from onnxq.runtime import Session

__all__ = ["RememberedSearch", "Search", "search_ranges"]

Range = tuple[float, float]

Search: TypeAlias = Callable[[ir.Model, Plan, Mapping[str, Range], Samples], dict[str, Range]]
"""Better ranges for some values of a plan: :func:`search_ranges`, or one that remembers."""

SAMPLES = 8
SHRINKINGS = np.linspace(1.0, 0.25, 16)


def search_ranges(
    model: ir.Model, plan: Plan, full: Mapping[str, Range], samples: Samples
) -> dict[str, Range]:
    """The best shrinking of each range in ``full`` whose value a quantized linear operator reads.

    Values of bodies, and those that no such operator reads, are not in the result.

    Raises:
        DataError, ModelError: a sample does not fit, or the model does not run.
    """
    trials = {trial.name: trial for trial in _trials(model, plan, full)}
    fed = {value.name for value in model.graph.inputs}
    session = Session(model, extra_outputs=[name for name in trials if name not in fed])
    for sample in islice(samples, SAMPLES) if trials else ():
        made = {**sample.feeds, **session.run(sample.feeds)}
        for name, trial in trials.items():
            trial.add(made[name])
    return {name: trial.best() for name, trial in trials.items()}


@dataclass(frozen=True)
class RememberedSearch:
    """The same for many plans of one model: a value is searched once for each format and set of readers."""

    _found: dict[tuple[ValueDecision, frozenset[str]], Range | None] = field(default_factory=dict)

    def __call__(
        self, model: ir.Model, plan: Plan, full: Mapping[str, Range], samples: Samples
    ) -> dict[str, Range]:
        """As :func:`search_ranges`."""
        quantized = {node.node for node in plan.nodes if node.quantized}
        makers = _values(model)
        keys = {d.value: _key(d, makers, quantized) for d in plan.values if d.value in full}
        new = {name: full[name] for name, key in keys.items() if key not in self._found}
        made = search_ranges(model, plan, new, samples) if new else {}
        self._found.update((keys[name], made.get(name)) for name in new)
        kept = {name: self._found[key] for name, key in keys.items()}
        return {name: ends for name, ends in kept.items() if ends is not None}


def _key(
    decision: ValueDecision, values: Mapping[str | None, ir.Value], quantized: set[str]
) -> tuple[ValueDecision, frozenset[str]]:
    value = values.get(decision.value)
    readers = {node.outputs[0].name or "" for node in consumers(value)} if value is not None else set()
    return replace(decision, group="", readers=None), frozenset(readers & quantized)


@dataclass
class _Trial:
    """One value, its readers as a model of their own, and the sums that the cosines are made of."""

    decision: ValueDecision
    range: Range
    session: Session
    dots: FloatArray = field(default_factory=lambda: np.zeros(SHRINKINGS.size))
    squares: FloatArray = field(default_factory=lambda: np.zeros(SHRINKINGS.size))

    @property
    def name(self) -> str:
        return self.decision.value

    def add(self, x: Array) -> None:
        """Quantize x with every candidate, and add how far the readers' outputs agree with the true ones."""
        wanted = self._outputs(x)
        for place, share in enumerate(SHRINKINGS.tolist()):
            found = self._outputs(_fake_quantized(x, self._shrunk(share), self.decision))
            self.dots[place] += sum(_dot(a, b) for a, b in zip(wanted, found, strict=True))
            self.squares[place] += sum(_dot(b, b) for b in found)

    def best(self) -> Range:
        """The range of the largest cosine; the widest of equals. |R(x)| is the same for all."""
        cosines = self.dots / np.sqrt(np.where(self.squares > 0, self.squares, np.inf))
        return self._shrunk(float(SHRINKINGS[int(np.argmax(cosines))]))

    def _shrunk(self, share: float) -> Range:
        return share * self.range[0], share * self.range[1]

    def _outputs(self, x: Array) -> list[FloatArray]:
        made = self.session.run({"x": x})
        return [array.astype(np.float64).reshape(-1) for array in made.values()]


def _dot(a: FloatArray, b: FloatArray) -> float:
    """By numpy itself: BLAS would wake its threads for every small product."""
    return float(np.einsum("i,i->", a, b))


def _fake_quantized(x: Array, ends: Range, decision: ValueDecision) -> FloatArray:
    """What Q/DQ with that range makes of x; float32, bit for bit."""
    fmt = decision.format
    qparams = qparams_from_range(*ends, fmt, symmetric=decision.symmetric, power_of_two=decision.power_of_two)
    zero_point = int(qparams.zero_point)
    codes: FloatArray = np.rint(np.asarray(x, np.float32) / qparams.scale)
    np.clip(codes, fmt.qmin - zero_point, fmt.qmax - zero_point, out=codes)
    codes *= qparams.scale
    return codes


def _trials(model: ir.Model, plan: Plan, full: Mapping[str, Range]) -> Iterator[_Trial]:
    quantized = {node.node for node in plan.nodes if node.quantized}
    values = _values(model)
    for decision in plan.values:
        value = values.get(decision.value)
        if value is None or decision.value not in full or decision.axis is not None:
            continue
        readers = [n for n in consumers(value) if n.outputs[0].name in quantized and _is_linear(n, value)]
        if readers:
            yield _Trial(decision, full[decision.value], Session(_alone(model, value, readers)))


def _values(model: ir.Model) -> dict[str | None, ir.Value]:
    made = {value.name: value for node in model.graph for value in node.outputs}
    return {value.name: value for value in model.graph.inputs} | made


def _is_linear(node: ir.Node, value: ir.Value) -> bool:
    if not is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul") or node.inputs[0] is not value:
        return False
    return all(entry is None or constant(entry) is not None for entry in node.inputs[1:])


def _alone(model: ir.Model, value: ir.Value, readers: list[ir.Node]) -> ir.Model:
    """A model of the readers, their constants inside, fed with ``x``."""
    x = ir.Value(name="x", type=value.type, shape=value.shape)
    constants: dict[str, ir.Value] = {}
    nodes = []
    for position, reader in enumerate(readers):
        inputs: list[ir.Value | None] = [x]
        for entry in reader.inputs[1:]:
            array = constant(entry)
            name = entry.name if entry is not None else None
            if name and array is not None and name not in constants:
                constants[name] = ir.Value(name=f"c{len(constants)}", const_value=ir.tensor(array))
                constants[name].type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
                constants[name].shape = ir.Shape(array.shape)
            inputs.append(constants[name] if name else None)
        node = ir.Node("", reader.op_type, inputs, reader.attributes.values(), num_outputs=1)
        node.outputs[0].name, node.outputs[0].type = f"y{position}", reader.outputs[0].type or x.type
        nodes.append(node)
    graph = ir.Graph(
        [x],
        [node.outputs[0] for node in nodes],
        nodes=nodes,
        initializers=list(constants.values()),
        opset_imports=dict(model.opset_imports),
        name="readers",
    )
    return ir.Model(graph, ir_version=model.ir_version)
