"""Proving one lowering: fake-quantize a float graph, lower it, and compare with exact rational arithmetic."""

from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from onnxq.evaluate.integer_only import float_tensors
from onnxq.evaluate.intervals.analysis import analyze
from onnxq.graph.numeric import Array
from onnxq.passes.lowering.integer.linear import one_row
from onnxq.passes.lowering.integer.movement import wide_moves
from onnxq.passes.lowering.lower_integer import LowerInteger
from onnxq.pipeline.context import Context
from onnxq.runtime import Session

from .exact import NEAR_TIE, NEAR_TIE_WIDE, Exact
from .fake_quantizer import FakeQuantizer, Scheme, shape_of, with_outputs

Lower: TypeAlias = Callable[..., onnx.ModelProto]


@pytest.fixture
def lower(onnx_text: Callable[..., ir.Model], monkeypatch: pytest.MonkeyPatch) -> Lower:
    """``lower(text, seed=, opset=, scheme=, lowering=)``: fake-quantize, lower, check; the integer model.

    Every value gets a Q/DQ pair of its own, save those whose names begin with ``_``; moves share their
    input's parameters. Checked: onnx.checker in full; nothing float is left; a second run (``again``) changes
    nothing; ONNX Runtime and onnx.reference agree on every bit; every code is what rational arithmetic gives.
    Small tensors take the paths of large ones.
    """
    monkeypatch.setattr(one_row, "FEWEST", 0)
    monkeypatch.setattr(wide_moves, "FEWEST", 0)

    def run(
        text: str,
        *,
        seed: int = 0,
        opset: int | None = None,
        scheme: Scheme | None = None,
        lowering: LowerInteger | None = None,
        again: bool = True,
    ) -> onnx.ModelProto:
        rng = np.random.default_rng(seed)
        proto = ir.to_proto(onnx_text(text, opset))
        scheme = scheme or Scheme()
        lowering = lowering or LowerInteger()
        near_tie = NEAR_TIE[lowering.dialect] * (1 << max(0, 28 - lowering.max_accumulator_bits))
        near_tie = max(near_tie, NEAR_TIE_WIDE) if scheme.wide else near_tie
        near_tie = Fraction(0) if scheme.power_of_two else near_tie
        qdq = FakeQuantizer(proto, rng, scheme).model
        return check_lowering(qdq, rng, lowering, near_tie, again=again)

    return run


def check_lowering(
    qdq: onnx.ModelProto,
    rng: np.random.Generator,
    lowering: LowerInteger,
    near_tie: Fraction,
    *,
    again: bool = True,
) -> onnx.ModelProto:
    """Lower a Q/DQ model and hold the result against three references."""
    onnx.checker.check_model(qdq, full_check=True)
    first = lowering.run(ir.from_proto(qdq), Context())
    assert first.edits > 0
    assert float_tensors(first.model) == []
    strict = ir.to_proto(first.model)
    assert not again or lowering.run(first.model, Context()).edits == 0
    onnx.checker.check_model(strict, full_check=True)
    feeds = {i.name: _codes(i, rng) for i in strict.graph.input}
    taps = [output for node in strict.graph.node for output in node.output]
    actual = Session(strict, optimize=False, threads=1, extra_outputs=taps).run(feeds)
    for name, array in zip(
        taps, ReferenceEvaluator(with_outputs(strict, taps)).run(taps, feeds), strict=True
    ):
        assert array.dtype == actual[name].dtype, name
        np.testing.assert_array_equal(actual[name], array, err_msg=f"ONNX Runtime and reference: {name}")
    _hold_intervals(first.model, actual)
    Exact(qdq, feeds | actual, lowering.rounding or "half-even", near_tie).run()
    return strict


def _hold_intervals(model: ir.Model, actual: dict[str, Array]) -> None:
    """Interval arithmetic finds no word too narrow; every computed number, modulo 2^n, is in its interval."""
    analysis = analyze(model)
    assert [str(finding) for finding in analysis.violations] == []
    for value, interval in analysis.intervals.items():
        array = actual.get(value.name or "")
        if array is None or interval is None or array.dtype == np.bool_:
            continue
        above = (array.astype(object) - interval.low) % (1 << 8 * array.dtype.itemsize)
        assert np.all(above <= interval.high - interval.low), value.name


def _codes(info: onnx.ValueInfoProto, rng: np.random.Generator) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape_of(info)).astype(bool)
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.itemsize < 4 else (0, 1)
    return rng.integers(low, high, shape_of(info), endpoint=True).astype(dtype)
