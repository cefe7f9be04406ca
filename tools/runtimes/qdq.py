"""Q/DQ models seen as layers: codes go in, codes come out.

Each runtime rounds the float arithmetic between DequantizeLinear and QuantizeLinear in its own way, so that
what lies near a tie becomes the next code now and then, and all layers behind it work on other codes. What a
runtime does wrong shows only where each layer is given the same codes: :func:`layers` has ONNX Runtime, all
optimisations off, do every layer again on the codes that the runtime under trial made.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.utils

from onnxq.graph.numeric import Array
from onnxq.runtime import Session

__all__ = ["again", "codes_of", "ended_at", "last_codes", "layers"]


def codes_of(model: onnx.ModelProto) -> list[str]:
    """The integer tensors that QuantizeLinear makes, in the order of the nodes."""
    return [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]


def last_codes(model: onnx.ModelProto) -> list[str]:
    """The codes that each output is computed from, last: what follows is DequantizeLinear or stays float."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found = []
    for output in model.graph.output:
        node = makers[output.name]
        while node.op_type != "QuantizeLinear":
            node = next(makers[name] for name in node.input if name in makers)
        found.append(node.output[0])
    return list(dict.fromkeys(found))


def ended_at(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The part of a model that computes some of its values."""
    inputs = [value.name for value in model.graph.input]
    return onnx.utils.Extractor(model).extract_model(inputs, list(names))


def again(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that computes each QuantizeLinear's codes from the codes in front of it, which are given.

           x → Q → c₁ → DQ, op, Q → c₂      =>      x → Q → c₁'      c₁ → DQ, op, Q → c₂'

    ``model`` ends at its codes; those are inputs too, and the outputs are in their order. Codes that are no
    output are not given: they are computed from the nearest that are.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    given = {value.name for value in model.graph.output}
    made.graph.input.extend(made.graph.output)
    for value in made.graph.output:
        value.name += ".again"
    for node in made.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] in given:
            node.output[0] += ".again"
    return made


def layers(model: onnx.ModelProto, feeds: Mapping[str, Array], found: Sequence[Array]) -> tuple[float, int]:
    """The share of codes that each layer, given the same codes, makes in ONNX Runtime too; the largest step.

    ``feeds`` and ``found``, the codes of a runtime that ``model`` ends at, have an axis of samples in front.
    """
    session = Session(again(model), optimize=False, threads=1)
    names = [value.name for value in model.graph.output]
    wrong = total = largest = 0
    for i in range(len(found[0])):
        given = {name: np.asarray(array[i]) for name, array in feeds.items()}
        made = session.run(given | {name: array[i] for name, array in zip(names, found, strict=True)})
        for codes, expected in zip(found, made.values(), strict=True):
            apart = np.abs(codes[i].astype(np.int64) - expected)
            wrong, total = wrong + int(np.count_nonzero(apart)), total + apart.size
            largest = max(largest, int(apart.max(initial=0)))
    return 1 - wrong / total, largest
