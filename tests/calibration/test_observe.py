"""Observed values are those ONNX Runtime computes, from every scope, and failures name value and sample."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.observe import Options, observe
from onnxq.calibration.statistics import ChannelMinMax, MinMax, Statistic
from onnxq.calibration.sweeps import plan_sweeps
from onnxq.data.iterables import iterable_samples
from onnxq.data.samples import Samples
from onnxq.errors import DataError, ModelError
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import silent

Text = Callable[..., ir.Model]

PLAIN = """
g (float[N,3] x) => (float[N,3] y) {
    a = Abs (x)
    b = Sqrt (a)
    y = Neg (b)
}"""
BODIES = """
g (float[3] x, bool take) => (float[3] y) <int64 trip = {3}, bool go = {1}> {
    y = If (take) <
        then_branch = t () => (float[3] p) {
            q = Abs (x)
            inner = If (take) <
                then_branch = tt () => (float[3] pp) { deep = Neg (q)  pp = Neg (deep) },
                else_branch = te () => (float[3] pe) { never = Exp (q) pe = Neg (never) }
            >
            p = Neg (inner)
        },
        else_branch = e () => (float[3] r) {
            r = Loop (trip, go, x) <
                body = l (int64 i, bool c, float[3] s) => (bool d, float[3] twice) {
                    d = Identity (c)
                    twice = Add (s, s)
                    spare = Neg (twice)
                }
            >
        }
    >
}"""


def _f(numbers: object) -> Array:
    return np.array(numbers, np.float32)


def _samples(*arrays: Array, **fixed: Array) -> Samples:
    return iterable_samples([{"x": array, **fixed} for array in arrays], None)


def _seen(
    model: ir.Model,
    wants: Mapping[str, Statistic],
    samples: Samples,
    memory: int | None = None,
    skip_bad: bool = False,
) -> Mapping[str, Statistic]:
    return observe(model, wants, samples, silent, Options(memory=memory, skip_bad=skip_bad))


def _bounds(statistic: Statistic) -> tuple[int, float, float]:
    assert isinstance(statistic, MinMax)
    return statistic.count, statistic.min, statistic.max


def test_inputs_inner_values_and_outputs_with_a_free_axis(onnx_text: Text) -> None:
    samples = _samples(_f([[1, -4, 9]]), _f([[0, 0, 16], [1, 1, 1]]))
    wants = {"x": ChannelMinMax(1), "b": MinMax(), "y": MinMax()}
    seen = _seen(onnx_text(PLAIN), wants, samples)
    assert _bounds(seen["b"]) == (9, 0.0, 4.0)
    assert _bounds(seen["y"]) == (9, -4.0, 0.0)
    assert isinstance(seen["x"], ChannelMinMax)
    assert seen["x"].min.tolist() == [0, -4, 1]
    assert wants["b"].to_arrays()["count"] == 0  # what was given is not changed


def test_values_inside_bodies(onnx_text: Text) -> None:
    model, x = onnx_text(BODIES), _f([1, -2, 3])
    names = ("q", "deep", "never", "twice", "spare", "y")
    wants = {name: MinMax() for name in names}
    seen = _seen(model, wants, _samples(x, take=np.array(True)))
    assert [_bounds(seen[name]) for name in ("q", "deep", "y")] == [(3, 1, 3), (3, -3, -1), (3, -3, -1)]
    assert all(_bounds(seen[name])[0] == 0 for name in ("never", "twice", "spare"))
    seen = _seen(model, wants, _samples(x, take=np.array(False)))
    assert _bounds(seen["twice"]) == (9, -16, 24)  # three iterations of three elements
    assert _bounds(seen["spare"]) == (9, -24, 16)
    assert [output.name for output in model.graph.outputs] == ["y"]


def test_a_budget_splits_the_values_and_measures_the_same(onnx_text: Text) -> None:
    model, samples = onnx_text(PLAIN), _samples(_f([[1, -4, 9]]), _f([[2, 0, 16]]))
    names = ["x", "a", "b", "y"]
    assert plan_sweeps(model, names, samples, 2 * 2 * 12) == [["x", "a"], ["b", "y"]]
    assert plan_sweeps(model, names, samples, 1) == [["x"], ["a"], ["b"], ["y"]]
    whole, split = (_seen(model, {n: Histogram() for n in names}, samples, memory=m) for m in (None, 48))
    for name in names:
        a, b = whole[name].to_arrays(), split[name].to_arrays()
        assert all(np.array_equal(a[key], b[key]) for key in a)


def test_nan_names_the_first_value_and_the_sample(onnx_text: Text) -> None:
    model = onnx_text("g (float[1] x) => (float[1] y) { a = Log (x)  b = Sin (a)  y = Neg (b) }")
    samples = _samples(_f([1]), _f([-1]), _f([2]))
    wants = {name: MinMax() for name in ("a", "b", "y")}
    with pytest.raises(DataError, match=r"value 'a' in sample '.*1.*' cannot be calibrated: 1 of its 1"):
        _seen(model, wants, samples)
    count, low, high = _bounds(_seen(model, wants, samples, skip_bad=True)["a"])
    assert (count, low) == (2, 0.0)
    assert high == pytest.approx(np.log(2))


def test_wrong_use_is_said(onnx_text: Text) -> None:
    model = onnx_text(PLAIN)
    with pytest.raises(ModelError, match="no value 'z'"):
        _seen(model, {"z": MinMax()}, _samples(_f([[1, 2, 3]])))
    with pytest.raises(DataError, match=r"sample '.*': input 'x' takes float32\[N,3\]"):
        _seen(model, {"b": MinMax()}, _samples(_f([[1, 2]])))
    with pytest.raises(DataError, match="does not fit the earlier samples: axis 0 has 2 channels here and 1"):
        _seen(
            model, {"b": ChannelMinMax(0)}, _samples(np.ones((1, 3), np.float32), np.ones((2, 3), np.float32))
        )
