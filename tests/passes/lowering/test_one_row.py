"""Convolutions of narrow images become convolutions of one row; the fixture proves the sums."""

from collections.abc import Callable

import onnx
import pytest

from onnxq.passes.lowering.integer.linear import one_row
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.lower_integer import LowerInteger

from .fake_quantizer import Scheme

Lower = Callable[..., onnx.ModelProto]

NARROW = {
    "square": ("1,3,5,5", "4,3,3,3", "pads = [1,1,1,1]"),
    "five columns": ("2,2,4,6", "3,2,3,5", "pads = [1,2,1,2]"),
    "padded below and in front": ("1,2,4,5", "2,2,2,3", "pads = [0,2,1,0]"),
    "padded more behind": ("1,2,6,3", "2,2,4,2", "pads = [1,0,2,1]"),
    "a window larger than the image": ("1,2,3,3", "2,2,5,5", "pads = [2,2,2,2]"),
    "depthwise": ("1,6,4,4", "12,1,3,3", "group = 6, pads = [1,1,1,1]"),
    "padded as it says": ("1,2,4,4", "2,2,3,3", 'auto_pad = "NOTSET", pads = [1,1,1,1]'),
    "grouped": ("1,4,4,4", "6,2,3,3", "group = 2, pads = [1,1,1,1]"),
    "of any batch": ("N,2,4,4", "2,2,3,3", "pads = [1,1,1,1]"),
    "one pixel": ("1,2,1,1", "2,2,3,3", "pads = [1,1,1,1]"),
}

OTHERS = {
    "wide": ("1,1,2,57", "1,1,3,3", "pads = [1,1,1,1]", "1,1,2,57"),
    "strided": ("1,2,5,5", "2,2,3,3", "pads = [1,1,1,1], strides = [1,2]", "1,2,5,3"),
    "dilated": ("1,2,5,5", "2,2,3,3", "pads = [2,2,2,2], dilations = [2,2]", "1,2,5,5"),
    "smaller than the image": ("1,2,5,5", "2,2,3,3", "pads = [1,0,1,0]", "1,2,5,3"),
    "one column": ("1,2,5,5", "2,2,3,1", "pads = [1,0,1,0]", "1,2,5,5"),
    "nothing below": ("1,2,5,5", "2,2,2,3", "pads = [1,1,0,1]", "1,2,5,5"),
    "of any width": ("1,2,4,W", "2,2,3,3", "pads = [1,1,1,1]", "1,2,4,W"),
    "of one axis": ("1,2,5", "2,2,3", "pads = [1,1]", "1,2,5"),
    "padded automatically": ("1,2,5,5", "2,2,3,3", 'auto_pad = "SAME_UPPER"', "1,2,5,5"),
}


def _text(x: str, w: str, attributes: str, y: str = "") -> str:
    batch, _, *size = x.split(",")
    y = y or ",".join([batch, w.split(",")[0], *size])
    return f"g (float[{x}] x) => (float[{y}] y) <float[{w}] W> {{ y = Conv <{attributes}> (x, W) }}"


def _operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
@pytest.mark.parametrize("name", NARROW)
def test_narrow_image_is_one_row(lower: Lower, name: str, dtype: str) -> None:
    found = _operators(lower(_text(*NARROW[name]), scheme=Scheme(dtype=dtype)))
    assert found.index("Pad") < found.index("ConvInteger") < len(found) - found[::-1].index("Reshape")


@pytest.mark.parametrize("name", OTHERS)
def test_other_convolutions_stay(lower: Lower, name: str) -> None:
    assert _operators(lower(_text(*OTHERS[name])))[0] == "ConvInteger"


@pytest.mark.parametrize(("rows", "first"), [(135, "Reshape"), (136, "ConvInteger")])
def test_few_rows_stay(lower: Lower, monkeypatch: pytest.MonkeyPatch, rows: int, first: str) -> None:
    """Five rows in each of three channels, for nine elements of the window."""
    monkeypatch.setattr(one_row, "FEWEST", rows)
    assert _operators(lower(_text(*NARROW["square"])))[0] == first


@pytest.mark.parametrize("dialect", [Dialect.PORTABLE, Dialect.INT32])
def test_other_dialects_keep_the_image(lower: Lower, dialect: Dialect) -> None:
    model = lower(_text(*NARROW["square"]), lowering=LowerInteger(dialect=dialect))
    assert "Reshape" not in _operators(model)
