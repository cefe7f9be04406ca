"""Computing every layer of a quantized model from given codes, all in one run.

In a deep network one code that moves by one step, because two ways of rounding meet a tie, moves more codes
in each layer behind it. So the outputs of a correct lowering can be many codes away from what they were.
What a lowering promises is that each layer makes the same codes *of the same codes*. Here every value of
``given`` still is computed, but its readers read the given array: no layer sees another one's error.
"""

from collections.abc import Mapping

import onnx_ir as ir

from onnxq.graph.numeric import Array
from onnxq.graph.rewriter import Rewriter
from onnxq.runtime import Session

__all__ = ["is_code", "run_layers"]


def is_code(array: Array) -> bool:
    """Whether a value can be what a QuantizeLinear makes: integers of at most 16 bits."""
    return array.dtype.kind in "iu" and array.dtype.itemsize <= 2


def run_layers(model: ir.Model, given: Mapping[str, Array], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a model and its values named in ``given``, each computed from given values and inputs.

    Raises:
        ModelError: the model cannot be run like that.
    """
    model = model.clone()
    names = Rewriter(model)
    values = {value.name: value for node in model.graph for value in node.outputs}
    arrays = dict(feeds)
    for name, array in given.items():
        value, kind = values[name], ir.TensorType(ir.DataType.from_numpy(array.dtype))
        stand_in = ir.Value(name=names.unique(f"{name}_given"), type=kind, shape=ir.Shape(array.shape))
        for use in list(value.uses()):
            use.node.replace_input_with(use.idx, stand_in)
        model.graph.inputs.append(stand_in)
        arrays[stand_in.name or ""] = array
    return Session(model, optimize=False, threads=1, extra_outputs=list(given)).run(arrays)
