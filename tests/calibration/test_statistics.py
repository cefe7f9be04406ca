"""Every statistic is a commutative monoid, to the last bit, and says what numpy says."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxq.calibration.exact_sum import ExactSum
from onnxq.calibration.histogram import Histogram
from onnxq.calibration.kinds import Joint, restore
from onnxq.calibration.moments import Gram, Moments
from onnxq.calibration.statistics import ChannelMinMax, MinMax, NotFiniteError, Statistic
from onnxq.graph.numeric import Array

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
MAKERS: list[Callable[[], Statistic]] = [
    MinMax,
    Histogram,
    lambda: ChannelMinMax(-1),
    lambda: Moments(1),
    lambda: Gram(1),
    lambda: Joint([Histogram(), Moments(-1)]),
]


def _equal(a: Statistic, b: Statistic) -> bool:
    left, right = a.to_arrays(), b.to_arrays()
    return left.keys() == right.keys() and all(
        left[k].tobytes() == right[k].tobytes() and left[k].dtype == right[k].dtype for k in left
    )


def _draws(seed: int, count: int) -> list[Array]:
    """Samples of very different magnitude, with zeros, varying length along axis 0."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((rng.integers(1, 9), 3)) * 10.0 ** rng.integers(-30, 12)).astype(np.float32)
        * (rng.random((1, 3)) < 0.8)
        for _ in range(count)
    ]


@pytest.mark.parametrize("make", MAKERS)
@given(seed=st.integers(0, 2**32), shards=st.sampled_from([1, 2, 7]))
@settings(max_examples=15)
def test_any_order_and_sharding_gives_the_same_bytes(
    make: Callable[[], Statistic], seed: int, shards: int
) -> None:
    draws = list(enumerate(_draws(seed, 14)))
    whole = make()
    for position, array in draws:
        whole.update(array, position)
    np.random.default_rng(seed).shuffle(draws)
    parts = [make() for _ in range(shards)]
    for i, (position, array) in enumerate(draws):
        parts[i % shards].update(array, position)
    merged = make()  # the neutral element
    for part in reversed(parts):
        merged.merge(part)
    assert _equal(whole, merged)
    assert _equal(restore(whole.kind, whole.to_arrays()), whole)


@pytest.mark.parametrize("make", MAKERS)
def test_nan_and_infinity_change_nothing(make: Callable[[], Statistic]) -> None:
    statistic, untouched = make(), make()
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(NotFiniteError, match="1 of its 6 elements"):
            statistic.update(np.array([[1, 2, 3], [4, 5, bad]], np.float32))
    statistic.update(np.empty((0, 3), np.float32))
    assert _equal(statistic, untouched)


@given(st.lists(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=2), min_size=1, max_size=20))
def test_exact_sum_is_the_rounded_true_sum(terms: list[list[float]]) -> None:
    total = ExactSum()
    for term in terms:
        total.add(np.array(term))
    for channel in range(2):
        true = float(sum(Fraction(term[channel]) for term in terms))
        largest = max(abs(number) for term in terms for number in term)
        assert (
            abs(float(total.value[channel]) - true)
            <= 2.0**-52 * abs(true) + 20 * 2.0**-64 * largest + 2.0**-890
        )


@given(st.lists(st.lists(FLOATS, max_size=8), min_size=1, max_size=8))
def test_histogram_counts_as_exact_arithmetic_does(lists: list[list[float]]) -> None:
    histogram = Histogram()
    for position, numbers in enumerate(lists):
        histogram.update(np.array(numbers, np.float32), position)
    values = [number for numbers in lists for number in numbers]
    assert histogram.count == len(values)
    assert histogram.zeros == values.count(0)
    kept = [Fraction(number) for number in values if number]
    first, counts = histogram.bins()
    found = {first + i: int(count) for i, count in enumerate(counts) if count}
    indices = [number // Fraction(histogram.width) for number in kept]
    assert found == {i: indices.count(i) for i in indices}
    if kept:
        assert 2048 <= max(abs(number) for number in kept) / Fraction(histogram.width) < 4096
    if values:
        assert (histogram.min, histogram.max) == (min(values), max(values))


def test_histogram_keeps_each_samples_bounds() -> None:
    histogram = Histogram()
    for position in (5, 2, 9):
        histogram.update(np.array([position, -position], np.float32), position)
    positions, low, high = histogram.samples
    assert positions.tolist() == [2, 5, 9]
    assert low.tolist() == [-2, -5, -9]
    assert high.tolist() == [2, 5, 9]


def test_channel_sums_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    draws = [rng.standard_normal((2, 4, 5)).astype(np.float32) for _ in range(3)]
    rows = np.concatenate([draw.astype(np.float64).transpose(0, 2, 1).reshape(-1, 4) for draw in draws])
    moments, gram, bounds = Moments(1), Gram(1), ChannelMinMax(1)
    for draw in draws:
        for statistic in (moments, gram, bounds):
            statistic.update(draw)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.variance, rows.var(axis=0), rtol=1e-12)
    np.testing.assert_allclose(gram.matrix, rows.T @ rows, rtol=1e-12)
    assert gram.count == moments.count == len(rows)
    np.testing.assert_array_equal(bounds.absmax, np.abs(rows).max(axis=0))


def test_channels_that_change_their_number_are_refused() -> None:
    for statistic in (ChannelMinMax(1), Moments(1)):
        statistic.update(np.ones((1, 3), np.float32))
        with pytest.raises(ValueError, match="3"):
            statistic.update(np.ones((1, 4), np.float32))
        with pytest.raises(ValueError, match="no axis 1"):
            statistic.update(np.ones(4, np.float32))
