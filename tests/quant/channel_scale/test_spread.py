"""Bounds and moments along kept axes, against numpy on all data at once."""

import numpy as np
import pytest

from onnxq.calibration.statistics import NotFiniteError
from onnxq.quant.channel_scale.spread import Spread

RNG = np.random.default_rng(0)
SAMPLES = [RNG.normal(3, 2, (2, 4, rows, 3)).astype(np.float32) for rows in (5, 1, 7)]


def _filled(samples: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Spread:
    spread = Spread((1, 4, 1, 3))
    for sample in samples:
        spread.update(sample)
    return spread


def test_it_is_what_numpy_finds_in_all_data() -> None:
    whole, spread = np.concatenate(SAMPLES, axis=2).astype(np.float64), _filled(SAMPLES)
    for found, expected in (
        (spread.min, whole.min((0, 2), keepdims=True)),
        (spread.max, whole.max((0, 2), keepdims=True)),
        (spread.absmax, np.abs(whole).max((0, 2), keepdims=True)),
        (spread.mean, whole.mean((0, 2), keepdims=True)),
        (spread.mean_square, np.square(whole).mean((0, 2), keepdims=True)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_order_and_sharding_do_not_matter() -> None:
    merged = _filled(SAMPLES[2:])
    merged.merge(_filled(SAMPLES[1::-1]))
    restored = Spread.from_arrays(merged.to_arrays())
    for name, array in _filled(SAMPLES).to_arrays().items():
        np.testing.assert_array_equal(restored.to_arrays()[name], array)


def test_bad_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="does not keep"):
        _filled([np.zeros((2, 5, 1, 3), np.float32)])
    with pytest.raises(NotFiniteError, match="not finite"):
        _filled([np.full((2, 4, 1, 3), np.nan, np.float32)])
