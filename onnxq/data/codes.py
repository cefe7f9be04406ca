"""Feeding and reading a model whose inputs or outputs are integer codes where its twin has floats.

    code = clip(rint(x / scale) + zero_point)        x = (code − zero_point) · scale

Scale and zero point of a tensor are the model's metadata ``onnxq.scale.<tensor>`` and
``onnxq.zero_point.<tensor>`` (0 where absent): one of each per tensor.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from onnxq.errors import DataError, ModelError
from onnxq.graph.numeric import Array, FloatArray

__all__ = ["Codes", "align", "convert", "read_codes"]


@dataclass(frozen=True)
class Codes:
    """Scale and zero point of a tensor of integer codes."""

    scale: float
    zero_point: int

    def quantize(self, values: Array, dtype: np.dtype[np.generic]) -> Array:
        """The codes of real numbers: rounded half to even, saturated to ``dtype``.

        Divided in float32, as QuantizeLinear does: in float64 what is a tie there may round the other way.
        """
        limits = np.iinfo(dtype.name)
        steps = np.rint(values.astype(np.float32) / np.float32(self.scale)).astype(np.float64)
        return np.asarray(np.clip(steps + self.zero_point, limits.min, limits.max), dtype)

    def dequantize(self, codes: Array) -> FloatArray:
        """The real numbers that codes stand for, in float64."""
        return np.asarray((codes.astype(np.float64) - self.zero_point) * self.scale)


def read_codes(metadata: Mapping[str, str], tensor: str) -> Codes | None:
    """What a model's metadata says about a tensor, or None if nothing.

    Raises:
        ModelError: the scale is no positive number or the zero point no integer.
    """
    if (scale := metadata.get(f"onnxq.scale.{tensor}")) is None:
        return None
    zero_point = metadata.get(f"onnxq.zero_point.{tensor}", "0")
    try:
        codes = Codes(float(scale), int(zero_point))
    except ValueError as error:
        raise ModelError(f"metadata of '{tensor}': scale {scale!r}, zero point {zero_point!r}") from error
    if not (codes.scale > 0 and math.isfinite(codes.scale)):
        raise ModelError(f"metadata onnxq.scale.{tensor} is {scale}, expected a positive number")
    return codes


def convert(array: Array, dtype: np.dtype[np.generic], codes: Codes | None, where: str) -> Array:
    """An array as ``dtype``: floats become integers through ``codes``, all else is cast without loss.

    Raises:
        DataError: floats meet integers and there are no codes, or an integer does not fit.
    """
    if array.dtype == dtype:
        return array
    if array.dtype.kind == dtype.kind == "f":
        return array.astype(dtype)
    if array.dtype.kind == "f" and dtype.kind in "iu" and codes is not None:
        return codes.quantize(array, dtype)
    if "f" in (array.dtype.kind, dtype.kind):
        raise DataError(
            f"{where} is {dtype} but meets {array.dtype}, and no metadata onnxq.scale.<tensor> says how to "
            "convert: give both models inputs of one type, or that metadata"
        )
    cast = array.astype(dtype)
    if not np.array_equal(cast, array):
        raise DataError(f"{where} is {dtype}, which cannot hold the {array.dtype} values it is fed")
    return cast


def align(wanted: Iterable[str], offered: Iterable[str]) -> dict[str, str]:
    """Which offered name stands for each wanted one: the same, the rest by position if as many are left."""
    wanted, offered = list(wanted), list(offered)
    same = {name: name for name in wanted if name in set(offered)}
    rest, spare = ([name for name in names if name not in same] for names in (wanted, offered))
    moved = dict(zip(rest, spare, strict=True)) if len(rest) == len(spare) else {}
    pairs = same | moved
    return {name: pairs[name] for name in wanted if name in pairs}
