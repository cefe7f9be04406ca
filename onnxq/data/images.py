"""Samples from a folder of pictures, decoded by Pillow one at a time; see :mod:`onnxq.data.preprocessing`.

Pictures are taken as stored: no EXIF rotation, no colour profile, transparency is dropped.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from onnxq.data.files import sample_name
from onnxq.data.preprocessing import Preprocessing
from onnxq.data.samples import MAX_SAMPLE_BYTES, InputSpec, Sample, Samples
from onnxq.errors import DataError, UsageError
from onnxq.graph.numeric import Array, FloatArray

__all__ = ["IMAGE_SUFFIXES", "ImageSamples", "preprocess"]

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

_FORMATS = ("BMP", "JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class ImageSamples(Samples):
    """One picture a sample, a batch of 1, in the dtype of the model's input.

    Raises:
        UsageError: the preprocessing does not fit the input, or leaves its size open.
        DataError: while iterating: a file is no picture, is damaged, or has too many pixels.
    """

    paths: Sequence[Path]
    spec: InputSpec
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        height, width = _picture_size(self.preprocessing, self.spec)
        if height * width * self.preprocessing.channels * 4 > MAX_SAMPLE_BYTES:
            raise UsageError(f"input '{self.spec.name}' {self.spec} is too large for a picture")

    def __iter__(self) -> Iterator[Sample]:
        size = _picture_size(self.preprocessing, self.spec)
        for path in self.paths:
            array = preprocess(_decode(path, self.preprocessing), self.preprocessing, size)
            yield Sample(sample_name(path), {self.spec.name: _typed(array, self.spec)})

    def __len__(self) -> int:
        return len(self.paths)


def _picture_size(preprocessing: Preprocessing, spec: InputSpec) -> tuple[int, int]:
    """Height and width of the input: as the preprocessing says, else as the model declares.

    Raises:
        UsageError: neither says it, or layout and channels do not fit the input.
    """
    channel, first = (1, 2) if preprocessing.layout == "nchw" else (3, 1)
    if len(spec.shape) != 4 or spec.shape[channel] not in (None, preprocessing.channels):
        raise UsageError(
            f"input '{spec.name}' is {spec}, which takes no pictures with layout={preprocessing.layout}, "
            f"color={preprocessing.color} ({preprocessing.channels} channels on axis {channel} of 4)"
        )
    height, width = spec.shape[first], spec.shape[first + 1]
    if preprocessing.size is not None:
        return preprocessing.size
    if height is None or width is None:
        raise UsageError(f"input '{spec.name}' {spec} leaves the picture's size open: add size=HEIGHTxWIDTH")
    if isinstance(preprocessing.resize, int) and preprocessing.resize < max(height, width):
        raise UsageError(
            f"preprocessing: resize={preprocessing.resize} is less than the {height}x{width} pixels "
            f"of input '{spec.name}'"
        )
    return height, width


def preprocess(image: Image.Image, how: Preprocessing, size: tuple[int, int]) -> FloatArray:
    """A picture as a float32 batch of 1: [1,c,h,w] or [1,h,w,c]."""
    pixels = np.asarray(_resized(image, how, size)).reshape(*size, how.channels)
    pixels = pixels[:, :, ::-1] if how.color == "bgr" else pixels
    values = (pixels * np.float64(how.scale) - np.array(how.mean)) / np.array(how.std)
    values = values.transpose(2, 0, 1) if how.layout == "nchw" else values
    return np.asarray(values[None], np.float32, order="C")


def _decode(path: Path, how: Preprocessing) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                return image.convert("L" if how.color == "gray" else "RGB")
    except Exception as error:  # decoders of foreign bytes raise whatever they please
        raise DataError(f"'{path}' cannot be read as a picture: {error}; replace or remove it") from error


def _resized(image: Image.Image, how: Preprocessing, size: tuple[int, int]) -> Image.Image:
    resampling = Image.Resampling[how.filter.upper()]
    height, width = size
    if how.resize == "stretch":
        return image.resize((width, height), resampling)
    w, h = image.size
    if how.resize == "letterbox":
        w, h = (
            (max(1, w * height // h), height) if w * height < width * h else (width, max(1, h * width // w))
        )
        left, top = _corner(how.place, width - w, height - h)
        canvas = Image.new(image.mode, (width, height), (how.pad,) * how.channels)
        canvas.paste(image.resize((w, h), resampling), (left, top))
        return canvas
    side = int(how.resize)
    w, h = (side, round(h * side / w)) if w < h else (round(w * side / h), side)
    if w * h > (Image.MAX_IMAGE_PIXELS or w * h):
        raise DataError(f"a picture of {image.width}x{image.height} becomes {w}x{h}: too long, remove it")
    left, top = _corner(how.crop, w - width, h - height)
    return image.resize((w, h), resampling).crop((left, top, left + width, top + height))


def _corner(where: str, free_width: int, free_height: int) -> tuple[int, int]:
    return (free_width // 2, free_height // 2) if where == "center" else (0, 0)


def _typed(array: FloatArray, spec: InputSpec) -> Array:
    """The array in an integer input's dtype; float inputs are cast where all samples are checked."""
    if spec.dtype.kind not in "iu":
        return array
    limits = np.iinfo(spec.dtype.name)
    if array.min() < limits.min or array.max() > limits.max or not np.array_equal(array, np.rint(array)):
        raise DataError(
            f"input '{spec.name}' is {spec.dtype}, but the preprocessing gives other values "
            f"({array.min():g} to {array.max():g}): leave scale, mean and std out"
        )
    return array.astype(spec.dtype)
