"""Which values to observe together, so that their arrays fit a memory budget.

Sizes are measured, not guessed: the first sample runs once through a copy of the model whose outputs are
the Shapes of the wanted values, a few bytes each, whatever the size of the activations.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from onnxq.calibration.taps import tap
from onnxq.data.samples import Samples
from onnxq.runtime import Session

__all__ = ["plan_sweeps"]

ALIVE = 2
"""Batches whose arrays exist at once: one is running while the one before is counted."""


def plan_sweeps(
    model: ir.Model, names: Sequence[str], samples: Samples, memory: int | None, batch: int = 1
) -> list[list[str]]:
    """The names in groups, in their order, each of which fits ``memory`` bytes; one group without a budget.

    A value that does not fit alone gets a sweep of its own. Sizes are those of the first sample, ``batch``
    of which run at once.

    Raises:
        ModelError: the model does not run, or it has no such value.
    """
    if memory is None:
        return [list(names)]
    sizes = _sizes(model, names, samples)
    groups: list[list[str]] = []
    room = 0
    for name in names:
        need = ALIVE * batch * sizes[name]
        if not groups or need > room:
            groups.append([])
            room = memory
        groups[-1].append(name)
        room -= need
    return groups


def _sizes(model: ir.Model, names: Sequence[str], samples: Samples) -> Mapping[str, int]:
    """Bytes of each value in the first sample."""
    tapped = tap(model.clone(), names)
    graph = tapped.model.graph
    values = {value.name: value for node in graph for value in node.outputs}
    values |= {value.name: value for value in graph.inputs}
    for position, inner in enumerate(tapped.names.values()):
        node = ir.Node("", "Shape", [values[inner]], num_outputs=1, name=f"onnxq_size_{position}")
        node.outputs[0].name, node.outputs[0].type = node.name, ir.TensorType(ir.DataType.INT64)
        graph.append(node)
        graph.outputs.append(node.outputs[0])
    shapes = [f"onnxq_size_{position}" for position in range(len(names))]
    made = Session(tapped.model).run(next(iter(samples)).feeds, shapes)
    kinds = (values[inner].dtype or ir.DataType.FLOAT for inner in tapped.names.values())
    return {
        name: prod(int(axis) for axis in made[shape]) * np.dtype(kind.numpy()).itemsize
        for name, shape, kind in zip(names, shapes, kinds, strict=True)
    }
