"""Searching for how to quantize: mixed precision under a budget, and the ladder of ``quantize --auto``."""

from onnxq.search.budget import Budget, Precision
from onnxq.search.ladder import AutoResult, auto
from onnxq.search.precision import choose_precision

__all__ = ["AutoResult", "Budget", "Precision", "auto", "choose_precision"]
