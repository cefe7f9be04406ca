"""Which model this is: a hash of what it computes, not of how it was stored."""

import hashlib

import numpy as np
import onnx_ir as ir

from onnxq.graph.outline import outline
from onnxq.tensors import tensor_slots

__all__ = ["fingerprint"]


def fingerprint(model: ir.Model) -> str:
    """SHA-256 (hex) over the outline (nodes, names, types, attributes), the opsets and all weights.

    Where the weights are stored and the order of protobuf fields do not count.
    """
    total = hashlib.sha256(repr(sorted(model.opset_imports.items())).encode())
    total.update(outline(model).encode())
    for slot in tensor_slots(model):
        tensor = slot.tensor
        total.update(f"\n{slot.name!r} {tensor.dtype.name} {list(tensor.shape.numpy())}\n".encode())
        total.update(_bytes(tensor))
    return total.hexdigest()


def _bytes(tensor: ir.TensorProtocol) -> bytes:
    if isinstance(tensor, ir.StringTensor) or tensor.dtype == ir.DataType.STRING:
        return repr(np.asarray(tensor.numpy()).tolist()).encode()
    return tensor.tobytes()
