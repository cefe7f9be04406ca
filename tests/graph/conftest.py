"""The model that most tests of edits begin with."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

from .small_models import CHAIN


@pytest.fixture
def chain(onnx_text: Callable[..., ir.Model]) -> ir.Model:
    """Add, Relu, Neg, Exp in a row."""
    return onnx_text(CHAIN)
