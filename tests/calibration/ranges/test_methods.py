"""Every method against an independent optimum: brute force over the data itself, scipy-free closed forms."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onnxq.calibration.histogram import Histogram
from onnxq.calibration.ranges import Method, channel_ranges, get_method, method_names
from onnxq.calibration.ranges.aciq import gauss_clip, laplace_clip
from onnxq.calibration.ranges.entropy import divergences
from onnxq.calibration.statistics import ChannelMinMax, MinMax
from onnxq.errors import UsageError
from onnxq.graph.numeric import FloatArray, IntArray
from onnxq.quant.formats import INT8, INT16, UINT8, IntFormat
from onnxq.quant.qparams import qparams_from_range

INT4, UINT4 = IntFormat(4, True), IntFormat(4, False)
RNG = np.random.default_rng(7)
DATA = {
    "laplace": RNG.laplace(size=5000),
    "relu": np.maximum(RNG.standard_normal(5000), 0),
    "outliers": np.append(RNG.standard_normal(5000), [40.0, -60.0]),
    "shifted": RNG.exponential(size=5000) + 0.5,
    "negative": -RNG.exponential(size=5000),
    "silu": (lambda x: x / (1 + np.exp(-x)))(3 * RNG.standard_normal(5000)),
    "constant": np.full(100, 3.0),
}
CASES = [
    (name, fmt, sym)
    for name in DATA
    for fmt, sym in ((INT8, True), (UINT8, False), (INT4, True), (UINT4, False))
]


def _histogram(x: FloatArray) -> Histogram:
    histogram = Histogram()
    for position, part in enumerate(np.array_split(np.asarray(x, np.float32), 4)):
        histogram.update(part, position)
    return histogram


def _error(x: FloatArray, low: float, high: float, fmt: IntFormat, symmetric: bool) -> float:
    """Squared error of quantizing the data, computed by the Q/DQ definition on every element."""
    qparams = qparams_from_range(low, high, fmt, symmetric=symmetric)
    x = np.asarray(x, np.float32)
    return float(((qparams.dequantize(qparams.quantize(x)).astype(np.float64) - x) ** 2).mean())


def _least_error(x: FloatArray, fmt: IntFormat, symmetric: bool) -> float:
    """The least error over a grid of ranges that knows nothing of histograms."""
    part = np.linspace(0.03, 1, 30)
    low, high = min(x.min(), 0), max(x.max(), 0)
    if symmetric:
        return min(_error(x, 0, p * max(-low, high), fmt, True) for p in part)
    lows, highs = part * low if low else [0.0], part * high if high else [0.0]
    return min(_error(x, a, b, fmt, False) for a in lows for b in highs)


@pytest.mark.parametrize(("name", "fmt", "symmetric"), CASES)
def test_mse_finds_what_brute_force_finds(name: str, fmt: IntFormat, symmetric: bool) -> None:
    x = DATA[name]
    low, high = get_method("mse").range(_histogram(x), fmt, symmetric=symmetric)
    least = _least_error(x, fmt, symmetric)
    assert _error(x, low, high, fmt, symmetric) <= 1.01 * least + 1e-12


@pytest.mark.parametrize(("name", "fmt", "symmetric"), CASES)
def test_auto_and_refinements_are_no_worse_than_the_full_range(
    name: str, fmt: IntFormat, symmetric: bool
) -> None:
    x, histogram = DATA[name], _histogram(DATA[name])
    full = _error(x, x.min(), x.max(), fmt, symmetric)
    for method in ("mse", "admm", "auto"):
        low, high = get_method(method).range(histogram, fmt, symmetric=symmetric)
        assert _error(x, low, high, fmt, symmetric) <= 1.001 * full + 1e-12, method


@pytest.mark.parametrize(("name", "fmt", "symmetric"), CASES)
def test_pow2_is_the_best_power_of_two(name: str, fmt: IntFormat, symmetric: bool) -> None:
    x = DATA[name]
    low, high = get_method("pow2").range(_histogram(x), fmt, symmetric=symmetric)
    scale = float(qparams_from_range(low, high, fmt, symmetric=symmetric).scale)
    assert math.frexp(scale)[0] == 0.5
    if symmetric:
        reach = min(fmt.qmax, -fmt.qmin)
        least = min(_error(x, -(2.0**e) * reach, 2.0**e * reach, fmt, True) for e in range(-12, 8))
        assert _error(x, low, high, fmt, True) <= 1.001 * least


@given(
    arrays(np.int64, st.integers(12, 60), elements=st.sampled_from([0, 0, 1, 2, 3, 10, 100])),
    st.integers(2, 8),
)
def test_divergences_are_those_of_the_definition(counts: IntArray, levels: int) -> None:
    if not counts.any():
        return
    found = divergences(counts, levels)
    for size, divergence in zip(range(levels, counts.size + 1), found, strict=True):
        assert divergence == pytest.approx(_divergence(counts, size, levels), abs=1e-9)


def _divergence(counts: IntArray, size: int, levels: int) -> float:
    """KL(P ‖ Q) in loops, as in Migacz's slides."""
    p = counts[:size].astype(float)
    q = np.zeros(size)
    edges = [*(g * (size // levels) for g in range(levels)), size]
    for start, stop in pairwise(edges):
        used = counts[start:stop] > 0
        if used.any():
            q[start:stop][used] = counts[start:stop].sum() / used.sum()
    p[-1] += counts[size:].sum()
    if not q.sum():
        return math.inf
    p, q = p / p.sum(), q / q.sum()
    return sum(math.inf if q[j] == 0 else p[j] * math.log(p[j] / q[j]) for j in range(size) if p[j])


@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9])
@pytest.mark.parametrize("name", DATA)
def test_percentile_agrees_with_numpy_to_a_bin(name: str, percent: float) -> None:
    x, histogram = DATA[name].astype(np.float32), _histogram(DATA[name])
    method = get_method(f"percentile:{percent}")
    tail = (100 - percent) / 2
    low, high = method.range(histogram, INT8)
    wanted = np.percentile(x, [tail, 100 - tail], method="inverted_cdf")
    assert low == pytest.approx(min(float(wanted[0]), 0), abs=2 * histogram.width + _gap(x, tail))
    assert high == pytest.approx(max(float(wanted[1]), 0), abs=2 * histogram.width + _gap(x, 100 - tail))
    _, t = method.range(histogram, INT8, symmetric=True)
    wanted_t = np.percentile(np.abs(x), percent, method="inverted_cdf")
    assert t == pytest.approx(float(wanted_t), abs=2 * histogram.width + _gap(np.abs(x), percent))


def _gap(x: FloatArray, percent: float) -> float:
    """The distance between the two elements next to a quantile: interpolation may lie between."""
    place = int(percent / 100 * (x.size - 1))
    near = np.sort(x)[max(place - 2, 0) : place + 4]
    return float(near[-1] - near[0])


def test_clips_are_those_of_the_paper() -> None:
    # Banner et al. 2019, section 2: α = 2.83 b, 3.89 b, 5.03 b and 1.71 σ, 2.15 σ, 2.55 σ for 2, 3, 4 bits
    assert [laplace_clip(bits) for bits in (2, 3, 4)] == pytest.approx([2.83, 3.89, 5.03], abs=0.01)
    assert [gauss_clip(bits) for bits in (2, 3, 4)] == pytest.approx([1.71, 2.15, 2.55], abs=0.01)


@pytest.mark.parametrize(("name", "best"), [("laplace", 1.15), ("relu", 1.15)])
def test_aciq_is_near_the_optimum_for_its_distributions(name: str, best: float) -> None:
    x = DATA[name]
    for fmt, symmetric in ((INT4, True), (UINT4, False)):
        low, high = get_method("aciq").range(_histogram(x), fmt, symmetric=symmetric)
        if symmetric or name == "relu":
            assert _error(x, low, high, fmt, symmetric) <= best * _least_error(x, fmt, symmetric)


def test_ema_follows_the_order_of_the_samples() -> None:
    histogram = Histogram()
    for position, scale in [(2, 3.0), (0, 1.0), (1, 2.0)]:
        histogram.update(np.array([-scale, scale], np.float32), position)
    low, high = get_method("ema:0.5").range(histogram, INT8)
    assert (low, high) == (-2.25, 2.25)  # ((1 + 2) / 2 + 3) / 2


def test_distribution_is_mean_and_deviation() -> None:
    x = RNG.standard_normal(50000) + 1
    low, high = get_method("distribution:2").range(_histogram(x), INT8)
    assert (low, high) == pytest.approx((x.mean() - 2 * x.std(), x.mean() + 2 * x.std()), abs=1e-3)


@pytest.mark.parametrize("name", method_names())
def test_every_method_holds_zero_and_the_edges(name: str) -> None:
    method = get_method(name)
    empty = method.wants()
    assert method.range(empty, UINT8) == (0.0, 0.0)
    zeros = method.wants()
    zeros.update(np.zeros(9, np.float32))
    assert method.range(zeros, INT8, symmetric=True) == (0.0, 0.0)
    for data in DATA.values():
        for fmt in (IntFormat(2, True), INT8, UINT8, INT16):
            low, high = method.range(_histogram(data), fmt)
            assert low <= 0 <= high
            assert low == 0 or data.min() < 0
            assert high == 0 or data.max() > 0
            low, high = method.range(_histogram(data), fmt, symmetric=True)
            assert -low == high >= 0


@pytest.mark.parametrize("name", method_names())
def test_text_and_method_are_one(name: str) -> None:
    method: Method = get_method(name)
    assert get_method(str(method)) == method


@pytest.mark.parametrize("text", ["", "kl", "mse:3", "percentile:101", "percentile:x", "ema:nan"])
def test_methods_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        get_method(text)


def test_a_method_says_which_statistic_it_needs() -> None:
    with pytest.raises(UsageError, match=r"'mse' reads a histogram, but 'minmax' was measured"):
        get_method("mse").range(MinMax(), INT8)


def test_channels_are_ranged_one_by_one() -> None:
    weights = (RNG.laplace(size=(3, 5, 40)) * np.array([1, 10, 100])[:, None, None]).astype(np.float32)
    for name in ("minmax", "mse", "aciq"):
        low, high = channel_ranges(get_method(name), weights, 0, INT4)
        for channel in range(3):
            alone = get_method(name).range(_histogram(weights[channel].ravel()), INT4, symmetric=True)
            assert (low[channel], high[channel]) == pytest.approx(alone, rel=1e-6)
    measured = ChannelMinMax(1)
    measured.update(weights)
    low, high = channel_ranges(get_method("minmax"), measured, 1, UINT8, symmetric=False)
    assert low.tolist() == weights.min(axis=(0, 2)).tolist()
    assert high.tolist() == weights.max(axis=(0, 2)).tolist()
