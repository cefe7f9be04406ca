"""Integer formats: codes, names, refusals."""

import numpy as np
import pytest

from onnxq.errors import UsageError
from onnxq.quant.formats import IntFormat


@pytest.mark.parametrize(
    ("text", "qmin", "qmax", "dtype"),
    [
        ("int8", -128, 127, "int8"),
        ("uint8", 0, 255, "uint8"),
        ("int4", -8, 7, "int8"),
        ("uint2", 0, 3, "uint8"),
        ("int16", -32768, 32767, "int16"),
        ("uint12", 0, 4095, "uint16"),
        ("int32", -(2**31), 2**31 - 1, "int32"),
    ],
)
def test_codes_and_names(text: str, qmin: int, qmax: int, dtype: str) -> None:
    fmt = IntFormat.parse(text)
    assert (fmt.qmin, fmt.qmax, fmt.levels) == (qmin, qmax, qmax - qmin + 1)
    assert fmt.dtype == np.dtype(dtype)
    assert str(fmt) == text


def test_narrow_is_symmetric_about_zero() -> None:
    assert (IntFormat(8, True, narrow=True).qmin, IntFormat(8, True, narrow=True).levels) == (-127, 255)


@pytest.mark.parametrize(
    "text", ["", "int", "8", "uuint8", "float8", "int 8", "int1", "int33", "int-8", "int08x"]
)
def test_refuses_other_texts(text: str) -> None:
    with pytest.raises(UsageError, match="format"):
        IntFormat.parse(text)
