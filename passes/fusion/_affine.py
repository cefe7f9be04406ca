"""Per-channel affine maps, and the operators that are one: BatchNormalization, Mul and Add of a constant."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxq.graph.match import constants
from onnxq.graph.numeric import Array, FloatArray

__all__ = ["Affine", "batch_norm_affine", "has_references", "per_channel"]


@dataclass(frozen=True)
class Affine:
    """``y = scale · x + shift`` for each channel: two float64 arrays of shape [C]."""

    scale: FloatArray
    shift: FloatArray


def batch_norm_affine(bn: ir.Node) -> Affine | str:
    """What an inference-mode BatchNormalization does to each channel, or why that is not known.

    scale = gamma / sqrt(var + epsilon),  shift = beta − mean · scale          (Ioffe & Szegedy 2015)
    """
    if has_references(bn):
        return "its attributes are parameters of a function"
    if bn.attributes.get_int("training_mode", 0) or len(bn.outputs) > 1:
        return "the BatchNormalization is in training mode"
    if (params := constants(bn.inputs[1:5])) is None:
        return "the scale, bias, mean or variance of the BatchNormalization is not constant"
    if any(p.dtype != np.float32 for p in params):
        return "the BatchNormalization has parameters that are not float32"
    gamma, beta, mean, var = (p.astype(np.float64) for p in params)
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(var + bn.attributes.get_float("epsilon", 1e-5))
        shift = beta - mean * scale
        finite = np.isfinite(scale.astype(np.float32)) & np.isfinite(shift.astype(np.float32))
    if not finite.all():
        return "the BatchNormalization divides by the root of no positive number, or is not finite"
    return Affine(scale, shift)


def per_channel(array: Array, rank: int, channels: int) -> FloatArray | None:
    """A constant that broadcasts along axis 1 of a tensor of ``rank`` axes, as float64[channels]; else None.

    Taken are scalars, [C, 1, …], [1, C, 1, …] and anything of one element that does not add axes.
    """
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if shape[1] not in (1, channels) or array.size != shape[1]:
        return None
    return np.broadcast_to(array.reshape(-1).astype(np.float64), (channels,))


def has_references(node: ir.Node) -> bool:
    """Whether an attribute stands for a parameter of the function around the node."""
    return any(attribute.is_ref() for attribute in node.attributes.values())
