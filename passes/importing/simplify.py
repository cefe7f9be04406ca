"""Constant folding by onnxsim."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from onnxq import model_io
from onnxq.errors import ModelError
from onnxq.graph.outline import outline
from onnxq.graph.rewriter import Rewriter, Skip, describe
from onnxq.passes.importing._growth import huge_range
from onnxq.pipeline.base import Contract, Pass
from onnxq.pipeline.context import Context
from onnxq.tensors import tensor_slots

__all__ = ["Simplify"]

_LARGE_MODEL, _LARGE_TENSOR = 2**29, 2**20
_LARGEST_CONSTANT = 2**28


@dataclass(frozen=True)
class Simplify(Pass):
    """Compute what does not depend on the inputs, shape arithmetic included, with onnxsim.

        Reshape(x, Concat(Gather(Shape(x), 0), [-1]))   =>   Reshape(x, [1,-1])     with x: float32[1,…]

    onnxsim folds constants only; its fusions are off, since the passes of this library do them in the open.
    QuantizeLinear and DequantizeLinear of constants stay, as do the model's metadata, functions, declared
    shapes and the names, order and types of its inputs and outputs. Initializers that the caller may override
    are not folded. In models over 512 MB neither are tensors of 1 MB and more; they are not even copied.

    A model that onnxsim cannot take, that would grow by a constant of more than 256 MB, or from which onnxsim
    makes something that is not valid ONNX, is left as it is, with the reason.
    """

    name = "simplify"
    contract = Contract.EXACT

    def apply(self, rw: Rewriter, context: Context, /) -> None:
        try:
            simplified = _simplified(rw.model)
        except ModelError as error:
            rw.skips.append(Skip("the model", str(error)))
            return
        if outline(simplified, canonical=True) != outline(rw.model, canonical=True):
            rw.adopt(simplified)


def _simplified(model: ir.Model) -> ir.Model:
    if (endless := huge_range(model)) is not None:
        raise ModelError(f"{describe(endless)} would make too many elements")
    size = sum(slot.tensor.nbytes for slot in tensor_slots(model))
    proto = model_io.skeleton(model, below=_LARGE_TENSOR if size > _LARGE_MODEL else size + 1)
    _check_growth(proto)
    kept = _hide(proto, {value.name or "" for value in model.graph.inputs})
    result = model_io.from_proto(_run(proto))
    _show(result, kept, model)
    _restore(result, model)
    model_io.check(result)
    return result


def _run(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnxsim  # 0.2 s, and only this pass needs it

    try:
        with _quiet():
            result: onnx.ModelProto = onnxsim.simplify(
                proto, perform_optimization=False, mutable_initializer=True, tensor_size_threshold="1MB"
            )[0]
    except Exception as error:  # whatever the C++ throws: RuntimeError, MemoryError …
        raise ModelError(f"onnxsim failed: {' '.join(str(error).split())[:300]}") from error
    return result


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """onnxsim's C++ writes a traceback to file descriptor 2 for every node that it cannot compute."""
    sys.stderr.flush()
    kept = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(silence)
        os.close(kept)


def _hide(proto: onnx.ModelProto, inputs: set[str]) -> set[str]:
    """Turn initializers that must not be folded into plain inputs; returns the names of all of them."""
    graph = proto.graph
    hidden = [t for t in graph.initializer if t.name in inputs or t.data_location == t.EXTERNAL]
    for tensor in hidden:
        if tensor.name not in inputs:
            shape = list(tensor.dims)
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
    names = {tensor.name for tensor in hidden}
    shown = [tensor for tensor in graph.initializer if tensor.name not in names]
    typed = [info for info in graph.value_info if info.name not in names]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(shown)
    graph.value_info.extend(typed)
    return names


def _show(result: ir.Model, hidden: set[str], model: ir.Model) -> None:
    """Give the hidden initializers their values back; only overridable ones stay inputs."""
    graph, public = result.graph, {value.name for value in model.graph.inputs}
    found = {value.name: value for value in graph.inputs}
    graph.inputs.clear()
    graph.inputs.extend(found[value.name] for value in model.graph.inputs if value.name in found)
    for name in sorted(hidden & {name for name in found if name}):
        value = found[name]
        value.const_value = model.graph.initializers[name].const_value
        if name in public or value.uses() or value.is_graph_output():
            graph.register_initializer(value)


def _restore(result: ir.Model, model: ir.Model) -> None:
    """Everything that onnxsim has no business with: versions, metadata, declared types and shapes."""
    if [v.name for v in result.graph.inputs] != [v.name for v in model.graph.inputs]:
        raise ModelError("onnxsim changed the inputs of the model")
    if [v.name for v in result.graph.outputs] != [v.name for v in model.graph.outputs]:
        raise ModelError("onnxsim changed the outputs of the model")
    if dict(result.opset_imports) != dict(model.opset_imports):
        raise ModelError("onnxsim changed the opset of the model")
    result.ir_version = model.ir_version
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    result.domain, result.model_version = model.domain, model.model_version
    result.doc_string, result.graph.doc_string = model.doc_string, model.graph.doc_string
    _overwrite(result.metadata_props, model.metadata_props)
    _overwrite(result.graph.metadata_props, model.graph.metadata_props)
    before = _values(model.graph)
    for name, value in _values(result.graph).items():
        folded = value.is_initializer() and name not in model.graph.initializers
        if name in before and not folded:
            value.type, value.shape = before[name].type, before[name].shape


def _overwrite(target: dict[str, str], source: Mapping[str, str]) -> None:
    target.clear()
    target.update(source)


def _values(graph: ir.Graph) -> dict[str, ir.Value]:
    values = [*graph.inputs, *graph.initializers.values(), *(o for node in graph for o in node.outputs)]
    return {value.name: value for value in values if value.name}


def _check_growth(proto: onnx.ModelProto) -> None:
    """Refuse what would unfold into a huge constant: a shape of a few bytes can ask for any amount."""
    try:
        graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except Exception as error:  # InferenceError and, for broken graphs, plain RuntimeError
        raise ModelError(f"onnx cannot infer its shapes: {' '.join(str(error).split())}") from error
    sizes = {info.name: _size(info.type.tensor_type.shape) for info in (*graph.value_info, *graph.output)}
    fixed = {tensor.name for tensor in graph.initializer} | {""}
    for node in graph.node:
        if not all(name in fixed for name in node.input):
            continue
        fixed.update(node.output)
        for name in node.output:
            if sizes.get(name, 0) * 4 > _LARGEST_CONSTANT:
                raise ModelError(f"{node.op_type} would make the constant '{name}' of {sizes[name]} elements")


def _size(shape: onnx.TensorShapeProto) -> int:
    return math.prod(dim.dim_value for dim in shape.dim)
