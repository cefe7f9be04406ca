"""From a picture to a model's input, declared as text.

    size=224x224, resize=256, crop=center, scale=1/255, mean=0.485|0.456|0.406, std=0.229|0.224|0.225

A key is given as ``key=value`` and pairs are separated by commas:

    size    HEIGHTxWIDTH of the result                         default: what the model's input declares
    resize  stretch | letterbox | a number of pixels           default: stretch
            stretch ignores the aspect ratio; letterbox fits the whole picture and fills the rest with
            ``pad``; a number makes the short side that long and cuts ``size`` out of it
    crop    center | top-left: what a number for resize keeps  default: center
    place   center | top-left: where letterbox puts it         default: center
    pad     0 to 255, the grey that letterbox fills with       default: 114
    filter  bilinear | bicubic | lanczos | nearest, as Pillow  default: bilinear
    color   rgb | bgr | gray                                   default: rgb
    layout  nchw | nhwc                                        default: nchw
    scale   a number or a fraction                             default: 1
    mean    one number, or one a channel with |                default: 0
    std     one number, or one a channel with |                default: 1

The result is ``(pixel · scale − mean) / std`` with pixels from 0 to 255: mean and std are in units after
``scale``, and in the order of ``color``.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TypeVar

from onnxq.errors import UsageError
from onnxq.suggest import did_you_mean

__all__ = ["Preprocessing"]

T = TypeVar("T")

_WORDS = {
    "resize": ("stretch", "letterbox"),
    "crop": ("center", "top-left"),
    "place": ("center", "top-left"),
    "filter": ("bilinear", "bicubic", "lanczos", "nearest"),
    "color": ("rgb", "bgr", "gray"),
    "layout": ("nchw", "nhwc"),
}
_LARGEST_SIDE = 2**15


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input; the fields are the keys of the text, see the module.

    Raises:
        UsageError: a value is out of its range, or the values do not go together.
    """

    size: tuple[int, int] | None = None
    resize: str | int = "stretch"
    crop: str = "center"
    place: str = "center"
    pad: int = 114
    filter: str = "bilinear"
    color: str = "rgb"
    layout: str = "nchw"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for key, words in _WORDS.items():
            value = getattr(self, key)
            if value not in words and not (key == "resize" and isinstance(value, int)):
                raise UsageError(f"preprocessing: {key}={value} is not one of {', '.join(words)}")
        if isinstance(self.resize, int):
            self._check_sides("resize", (self.resize,))
            if self.size is not None and max(self.size) > self.resize:
                raise UsageError(f"preprocessing: resize={self.resize} is less than size={_by(self.size)}")
        self._check_sides("size", self.size or ())
        self._check_numbers()

    @property
    def channels(self) -> int:
        """Colour channels of the result."""
        return 1 if self.color == "gray" else 3

    @classmethod
    def parse(cls, text: str) -> "Preprocessing":
        """Read the text form; ``str()`` is its inverse.

        Raises:
            UsageError: a key is unknown or comes twice, or a value is not what its key takes.
        """
        pairs = _pairs(text, [field.name for field in fields(cls)])

        def take(key: str, parse: Callable[[str], T], default: T) -> T:
            if key not in pairs:
                return default
            try:
                return parse(pairs[key])
            except (ValueError, ZeroDivisionError, OverflowError) as error:
                raise UsageError(f"preprocessing: {key}={pairs[key]} cannot be understood: {error}") from None

        return cls(
            size=take("size", _size, None),
            resize=take("resize", _resize, cls.resize),
            crop=take("crop", str, cls.crop),
            place=take("place", str, cls.place),
            pad=take("pad", int, cls.pad),
            filter=take("filter", str, cls.filter),
            color=take("color", str, cls.color),
            layout=take("layout", str, cls.layout),
            scale=take("scale", _number, cls.scale),
            mean=take("mean", _numbers, cls.mean),
            std=take("std", _numbers, cls.std),
        )

    def __str__(self) -> str:
        given = ((f.name, getattr(self, f.name)) for f in fields(self))
        return ",".join(f"{name}={_text(name, value)}" for name, value in given if value is not None)

    def _check_sides(self, key: str, sides: tuple[int, ...]) -> None:
        if any(not 0 < side <= _LARGEST_SIDE for side in sides):
            raise UsageError(f"preprocessing: {key} must be from 1 to {_LARGEST_SIDE} pixels, got {sides}")

    def _check_numbers(self) -> None:
        if not 0 <= self.pad <= 255:
            raise UsageError(f"preprocessing: pad={self.pad} is not within 0 to 255")
        for key, numbers in (("scale", (self.scale,)), ("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, self.channels):
                raise UsageError(
                    f"preprocessing: {key} has {len(numbers)} numbers, expected 1 or {self.channels} "
                    f"for color={self.color}"
                )
            if not all(math.isfinite(number) and (number or key == "mean") for number in numbers):
                raise UsageError(f"preprocessing: {key}={_text(key, numbers)} must be finite and not 0")


def _pairs(text: str, known: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise UsageError(f"preprocessing: '{item}' has no '=', expected key=value")
        if key not in known:
            keys = ", ".join(known)
            raise UsageError(f"preprocessing: no key '{key}'{did_you_mean(key, known)} (keys: {keys})")
        if key in pairs:
            raise UsageError(f"preprocessing: '{key}' is given twice")
        pairs[key] = value
    return pairs


def _size(text: str) -> tuple[int, int] | None:
    if (found := re.fullmatch(r"([0-9]{1,6})[x×]([0-9]{1,6})", text)) is None:
        raise ValueError("expected HEIGHTxWIDTH, such as 224x224")
    return int(found[1]), int(found[2])


def _resize(text: str) -> str | int:
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else text


def _number(text: str) -> float:
    # Exponents are bounded by hand: Fraction("1e999999999") would try to compute that power of ten.
    if not re.fullmatch(r"[-+]?[0-9.]{1,32}(e[-+]?[0-9]{1,3})?(/[0-9.]{1,32})?", text):
        raise ValueError("expected a number such as 0.5, or a fraction such as 1/255")
    numerator, _, denominator = text.partition("/")
    return float(Fraction(numerator) / Fraction(denominator or "1"))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_number(item.strip()) for item in text.split("|"))


def _text(key: str, value: object) -> str:
    if isinstance(value, tuple):
        return ("x" if key == "size" else "|").join(map(str, value))
    return str(value)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
