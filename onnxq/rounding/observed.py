"""What each layer reads behind the quantized layers before it, and what it gives in the float model.

The float model runs once for as many layers as fit into memory; the quantized one runs up to the layers
asked for, each time anew, because rounding a layer changes what the later ones read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import onnx_ir as ir

from onnxq.data.samples import Samples
from onnxq.errors import DataError
from onnxq.graph.numeric import Array, FloatArray
from onnxq.rounding.quadratic import Means
from onnxq.rounding.sites import Site
from onnxq.rounding.split import HELD_BACK, chooses, is_held_back
from onnxq.rounding.twin import Twin
from onnxq.rounding.windows import Picked, pick
from onnxq.runtime import Session

__all__ = ["Evidence", "Observer"]

_TARGET_BYTES = 2**28
"""Float outputs held in memory at a time."""

S = TypeVar("S", bound=Means)


@dataclass(frozen=True, eq=False)
class Evidence(Generic[S]):
    """Sums of one layer over the rows to learn from, and over those to choose by."""

    learned: S
    held: S


@dataclass
class Observer(Generic[S]):
    """Runs both models over the samples; ``layers`` are in the order in which they are asked for.

    At most ``rows`` rows of a layer are looked at, the same ones in both models, chosen by ``seed``.
    ``skips`` gives layers whose outputs shall make up for the error of what is added to them later.
    """

    sums: type[S]
    model: ir.Model
    twin: Twin
    layers: Sequence[Site]
    samples: Samples
    rows: int
    seed: int
    skips: Mapping[Site, tuple[ir.Node, int]] = field(default_factory=dict)
    _targets: dict[int, list[FloatArray]] = field(default_factory=dict)
    _chunks: Sequence[range] = ()

    def __post_init__(self) -> None:
        self._chunks = tuple(self._fitting())

    def evidence(self, orders: range) -> list[Evidence[S]]:
        """Sums over inputs behind the quantized prefix and float outputs, for some layers in a row.

        Raises:
            DataError: a sample does not fit the model, or a value becomes NaN or infinite.
        """
        targets = [self._target(order) for order in orders]
        found = [self._empty(self.layers[order]) for order in orders]
        names = {order: self._names(self.layers[order], twin=False) for order in orders}
        for index, arrays in enumerate(self._runs(self.model, names)):
            for order, outputs, evidence in zip(orders, targets, found, strict=True):
                picked, rows, skip = self._look(order, index, [arrays[name] for name in names[order]])
                wanted = outputs[index] if skip is None else outputs[index] - picked.outputs(skip)
                for sums, part in self._split(evidence, index):
                    sums.add(rows[part], wanted[part])
        return found

    def _target(self, order: int) -> list[FloatArray]:
        """Float outputs without bias of one layer, [rows, groups, outputs] for each sample."""
        if order not in self._targets:
            chunk = next(chunk for chunk in self._chunks if order in chunk)
            self._run_twin(range(order, chunk.stop), chunk)
        return self._targets.pop(order)

    def _run_twin(self, orders: range, chunk: range) -> None:
        """Float outputs of some layers. All values of the chunk are asked for, whichever layer is first.

        ONNX Runtime fuses around what it must hand out: a resumed run asks for the same to see the same bits.
        """
        self._targets = {order: [] for order in orders}
        names = {order: self._names(self.layers[order], twin=True) for order in chunk}
        weights = {order: self.layers[order].matrices(self.layers[order].weight) for order in orders}
        for index, arrays in enumerate(self._runs(self.twin.model, names)):
            for order in orders:
                picked, rows, skip = self._look(order, index, [arrays[name] for name in names[order]])
                outputs = (weights[order] @ rows.transpose(1, 2, 0)).transpose(2, 0, 1)
                self._targets[order].append(outputs if skip is None else outputs + picked.outputs(skip))

    def _names(self, site: Site, *, twin: bool) -> list[str]:
        """The layer's data and, if it has one, the other operand of its residual sum."""
        places = [(site.node, 0), *([self.skips[site]] if site in self.skips else [])]
        values = ((self.twin.nodes[node] if twin else node).inputs[index] for node, index in places)
        return [(value.name if value is not None else None) or "" for value in values]

    def _fitting(self) -> Iterator[range]:
        """The layers in parts whose float outputs fit into memory together."""
        start, budget = 0, _TARGET_BYTES
        for stop, layer in enumerate(self.layers):
            need = 4 * self.rows * layer.outputs
            if need > budget and stop > start:
                yield range(start, stop)
                start, budget = stop, _TARGET_BYTES
            budget -= need
        yield range(start, len(self.layers))

    def _look(
        self, order: int, index: int, arrays: Sequence[Array]
    ) -> tuple[Picked, FloatArray, Array | None]:
        """The chosen places of one sample, what the weight meets there, and the residual operand."""
        site, (data, *others) = self.layers[order], arrays
        count = -(-self.rows // len(self.samples))
        picked = pick(site, data.shape, count, (self.seed, order, index))
        rows = picked.inputs(data)
        if not np.isfinite(rows).all():
            raise DataError(
                f"value '{site.data}' becomes NaN or infinite in sample {index}; remove the sample"
            )
        return picked, rows, others[0] if others else None

    def _split(self, evidence: Evidence[S], index: int) -> Iterator[tuple[S, slice]]:
        """Whole samples are held back where there are enough of them, else rows."""
        count = len(self.samples)
        if count >= HELD_BACK:
            if not is_held_back(index, count):
                yield evidence.learned, slice(None)
            elif chooses(index, count):
                yield evidence.held, slice(None)
            return
        yield evidence.learned, slice(0, None, 2)
        yield evidence.held, slice(1, None, 2)

    def _empty(self, site: Site) -> Evidence[S]:
        shape = site.matrices(site.weight).shape
        return Evidence(self.sums(*shape), self.sums(*shape))

    def _runs(self, model: ir.Model, names: Mapping[int, Sequence[str]]) -> Iterator[Mapping[str, Array]]:
        """The named values for each sample; nothing behind them is computed."""
        inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
        fed = {value.name for value in inputs}
        wanted = dict.fromkeys(name for some in names.values() for name in some)
        asked = [name for name in wanted if name not in fed]
        session = Session(_prefix(model, inputs, asked)) if asked else None
        for sample in self.samples:
            made = session.run(sample.feeds, asked) if session is not None else {}
            yield {**sample.feeds, **made}


def _prefix(model: ir.Model, inputs: Sequence[ir.Value], names: Sequence[str]) -> ir.Model:
    graph = ir.convenience.extract(model.graph, inputs, names)
    functions = [function.clone() for function in model.functions.values()]
    return ir.Model(graph, ir_version=model.ir_version, functions=functions)
