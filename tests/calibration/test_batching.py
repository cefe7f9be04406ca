"""Batches change no bit: a model that mixes its samples, or rounds differently, gets none."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
import pytest

from onnxq.calibration.batching import BatchRunner, grouped
from onnxq.calibration.calibrate import calibrate
from onnxq.calibration.histogram import Histogram
from onnxq.calibration.moments import Moments
from onnxq.calibration.observe import Options
from onnxq.calibration.statistics import ChannelMinMax, Statistic
from onnxq.data.iterables import iterable_samples
from onnxq.data.samples import Sample
from onnxq.errors import DataError
from onnxq.graph.numeric import Array
from onnxq.pipeline.context import silent
from onnxq.runtime import Session

Text = Callable[..., ir.Model]

APART = """
g (float[N,3,L] x, float s) => (float[N,M] y) <float[1,3,1] W, int64[2] flat = {0, -1}> {
    p = Mul (x, W)
    t = Transpose <perm = [2,0,1]> (p)
    k = Mul (W, s)
    y = Reshape (p, flat)
}"""
MIXED = "g (float[N,3] x) => (float[N,3] y) { m = ReduceMean <keepdims = 1> (x)  y = Sub (x, m) }"
FIXED = "g (float[N,3] x) => (float[1,3] y) <int64[2] one = {1, 3}> { y = Reshape (x, one) }"


class _Counted(Session):
    """Remembers the first axis of every run."""

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        self.runs = [*getattr(self, "runs", []), next(iter(feeds.values())).shape[0]]
        return super().run(feeds, outputs)


def _samples(count: int, *shape: int, **fixed: Array) -> list[Sample]:
    rng = np.random.default_rng(1)
    return [
        Sample(str(i), {"x": rng.standard_normal((1, *shape)).astype(np.float32), **fixed})
        for i in range(count)
    ]


def _runs(model: ir.Model, asked: list[str], samples: list[Sample], size: int) -> list[int]:
    """The batch sizes that were run, once all values turned out to be those of single runs."""
    session = _Counted(model, threads=1, extra_outputs=asked)
    runner = BatchRunner(session, asked)
    made = [arrays for group in grouped(enumerate(samples), size) for arrays in runner.run(group)]
    single = Session(model, threads=1, extra_outputs=asked)
    for sample, arrays in zip(samples, made, strict=True):
        for name, wanted in single.run(sample.feeds, asked).items():
            assert arrays[name].tobytes() == wanted.tobytes()
            assert arrays[name].shape == wanted.shape
    return list(session.runs)


def test_values_fall_apart_along_any_axis_or_are_shared(onnx_text: Text) -> None:
    samples = _samples(11, 3, 5, s=np.array(2, np.float32))
    runs = _runs(onnx_text(APART), ["p", "t", "k", "y"], samples, 4)
    assert runs == [1, 1, 1, 1, 4, 4, 1, 1, 1]  # the first batch both ways, the rest that fills none singly


@pytest.mark.parametrize("text", [MIXED, FIXED])
def test_models_that_mix_or_fix_their_batch_run_sample_by_sample(onnx_text: Text, text: str) -> None:
    runs = _runs(onnx_text(text), ["y"], _samples(8, 3), 4)
    assert [size for size in runs if size == 1] == [1] * 8
    assert len(runs) <= 9


def test_other_shapes_and_other_fixed_inputs_are_not_joined(onnx_text: Text) -> None:
    samples = [*_samples(3, 3, 5), *_samples(3, 3, 6)]
    feeds = [{**sample.feeds, "s": np.array(i, np.float32)} for i, sample in enumerate(samples)]
    assert [len(group) for group in grouped(enumerate(samples), 2)] == [2, 1, 2, 1]
    runs = _runs(onnx_text(APART), ["k"], [Sample("", feed) for feed in feeds], 2)
    assert runs == [1] * 6


@pytest.mark.parametrize("size", [2, 8])
def test_batches_give_the_bytes_of_single_samples(onnx_text: Text, size: int) -> None:
    model = onnx_text("""
        g (float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] W> {
            c = Conv <pads = [1,1,1,1]> (x, W)
            r = Relu (c)
            p = GlobalAveragePool (r)
            y = Flatten (p)
        }""")
    samples = iterable_samples([sample.feeds for sample in _samples(21, 3, 8, 8)], None)
    wants: dict[str, Statistic] = {"c": ChannelMinMax(1), "r": Histogram(), "y": Moments(-1)}
    files = [calibrate(model, samples, wants, silent, options=Options(batch=n)).to_bytes() for n in (1, size)]
    assert files[0] == files[1]


def test_the_bad_sample_of_a_batch_is_named(onnx_text: Text) -> None:
    model = onnx_text("g (float[N] x) => (float[N] y) { l = Log (x)  y = Neg (l) }")
    feeds = [{"x": np.array([number], np.float32)} for number in (1, 2, 3, 4, 5, -6, -7, 8)]
    samples = iterable_samples(feeds, None)
    wants: dict[str, Statistic] = {"y": Histogram(), "l": Histogram()}
    with pytest.raises(DataError, match=r"value 'y' in sample '.*5.*' cannot be calibrated"):
        calibrate(model, samples, wants, silent, options=Options(batch=4))
    file = calibrate(model, samples, wants, silent, options=Options(batch=4, skip_bad=True))
    assert file.values["l"].skipped == (5, 6)
