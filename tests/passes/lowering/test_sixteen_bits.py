"""16-bit activations with 8-bit weights, alone and between 8-bit tensors, against exact arithmetic."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxq.errors import CheckError
from onnxq.passes.lowering.integer.profile import Dialect
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.quant.fixed_point import Rounding
from onnxq.runtime import Session

from .fake_quantizer import Scheme
from .test_lower_integer import CASES
from .test_moves import CONSTANTS, MOVES
from .test_rounding import CASES as TIES
from .test_tables import CONSTANTS as NUMBERS
from .test_tables import FUNCTIONS

Lower = Callable[..., onnx.ModelProto]

SCHEMES = {
    "uint16": Scheme(dtype="uint16"),
    "int16": Scheme(dtype="int16"),
    "mixed": Scheme(dtype="int16", also="uint8"),
}
ANY_LENGTH = "means of any length"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("case", [case for case in CASES if case != ANY_LENGTH])
def test_operators_give_the_exact_codes(lower: Lower, case: str, scheme: str) -> None:
    lower(CASES[case], seed=len(case), scheme=SCHEMES[scheme])


@pytest.mark.parametrize("case", [case for case in CASES if case != ANY_LENGTH])
def test_portable_dialect_gives_them_too(lower: Lower, case: str) -> None:
    scheme = SCHEMES["int16" if len(case) % 2 else "mixed"]
    lower(CASES[case], seed=len(case), scheme=scheme, lowering=LowerInteger(dialect=Dialect.PORTABLE))


@pytest.mark.parametrize("rounding", [Rounding.HALF_EVEN, Rounding.HALF_UP, Rounding.HALF_AWAY])
@pytest.mark.parametrize("dialect", [Dialect.FAST, Dialect.PORTABLE])
@pytest.mark.parametrize("case", [case for case in TIES if case != "mean of any length"])
def test_every_tie_is_rounded_as_asked(lower: Lower, case: str, dialect: Dialect, rounding: Rounding) -> None:
    scheme = Scheme(dtype="int16" if len(case) % 2 else "uint16", also="uint8", power_of_two=True)
    lower(TIES[case], scheme=scheme, lowering=LowerInteger(rounding=rounding, dialect=dialect))


EVEN = CONSTANTS.replace("<", "<int64[8] even = {0, 0, 1, 0, 0, 0, 0, 1}, ", 1)
MORE_MOVES = {
    "DepthToSpace": (
        "float[1,1,10,10] y",
        "_c = Concat <axis = 1> (x, x) y = DepthToSpace <blocksize = 2> (_c)",
    ),
    "DepthToSpace, columns first": (
        "float[1,1,10,10] y",
        '_c = Concat <axis = 1> (x, x) y = DepthToSpace <blocksize = 2, mode = "CRD"> (_c)',
    ),
    "SpaceToDepth": (
        "float[1,8,3,3] y",
        "_p = Pad (x, even) y = SpaceToDepth <blocksize = 2> (_p)",
    ),
    "MaxPool, ceil": (
        "float[1,2,3,3] y",
        "y = MaxPool <kernel_shape = [2,2], strides = [2,2], ceil_mode = 1> (x)",
    ),
    "MaxPool, same": (
        "float[1,2,3,3] y",
        'y = MaxPool <kernel_shape = [2,3], strides = [2,2], auto_pad = "SAME_UPPER"> (x)',
    ),
    "MaxPool, dilated": ("float[1,2,3,1] y", "y = MaxPool <kernel_shape = [2,3], dilations = [2,2]> (x)"),
}


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
@pytest.mark.parametrize("name", MOVES | MORE_MOVES)
def test_move_runs_on_codes(lower: Lower, name: str, dtype: str) -> None:
    outputs, body = (MOVES | MORE_MOVES)[name]
    lower(f"g (float[1,2,5,5] x) => ({outputs}) {EVEN} {{ {body} }}", scheme=Scheme(dtype=dtype))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_tables_of_all_codes(lower: Lower, name: str, scheme: str) -> None:
    text = f"g (float[2,300] x) => (float[2,300] y) {NUMBERS} {{ {FUNCTIONS[name]} }}"
    lower(text, seed=len(name), scheme=SCHEMES[scheme])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("scale", [None, 1 / 256])
def test_softmax(lower: Lower, scheme: str, op: str, scale: float | None) -> None:
    text = f"g (float[2,3,10] x) => (float[2,3,10] y, float[2,3,10] z) {{ y = {op} (x) z = {op} <axis = 1> (y) }}"
    lower(text, scheme=replace(SCHEMES[scheme], scale=scale))
