"""The model of the noise, its gradient, and the scales of least noise where they are known."""

import numpy as np
import pytest

from onnxq.quant.channel_scale.noise import Term, ValueNoise, WeightNoise, total
from onnxq.quant.channel_scale.solve import least_noise

RNG = np.random.default_rng(0)


def _value(count: int = 5) -> ValueNoise:
    ids = np.array([1, 2, -3, 0, 5][:count])
    high, low = np.log(RNG.uniform(0.5, 30, (2, count)))
    return ValueNoise(ids, high, low, ids[:4], RNG.uniform(0.5, 2, min(count, 4)), 255.0)


def _weight(*, per_channel: bool) -> WeightNoise:
    ids_in, ids_out = np.array([[1, -2, 0], [3, 4, 5]]), np.array([[2, 0], [5, 1]])
    logs = np.log(RNG.uniform(0.1, 2, (2, 2, 3))).astype(np.float32)
    power, weight = RNG.uniform(0.5, 2, (2, 3)), RNG.uniform(0.5, 2, (2, 2))
    return WeightNoise(logs, ids_in, ids_out, power, weight, 127.0, per_channel)


@pytest.mark.parametrize("term", [_value(), _weight(per_channel=True), _weight(per_channel=False)])
def test_the_gradient_is_that_of_finite_differences(term: Term) -> None:
    t, step = RNG.uniform(-1, 1, 5), 1e-3
    _, gradient = total([term], t, 8.0)
    for k, unit in enumerate(np.eye(5)):
        up, down = (total([term], t + sign * step * unit, 8.0)[0] for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(
            gradient[k], rel=2e-3, abs=1e-4 * np.abs(gradient).max()
        )


def test_weights_are_rounded_as_the_formula_says() -> None:
    """Against rounding the scaled weights by hand: mean_o G_o Δ_o²/12 Σ_i E[x_i²] / s_i², times s_o²."""
    weight, t = _weight(per_channel=True), RNG.uniform(-1, 1, 5)
    s = np.exp(np.concatenate([[0], t]))
    s_in = np.where(weight.ids_in < 0, 1 / s[np.abs(weight.ids_in)], s[np.abs(weight.ids_in)])
    steps = (np.exp(weight.logs) * s_in[:, None, :]).max(2) / 127
    expected = (weight.weight * steps**2 / 12 * (weight.power / s_in**2).sum(1)[:, None]).sum()
    assert total([weight], t, 400.0)[0] == pytest.approx(expected, rel=2e-2)


def test_a_value_alone_is_made_equal_in_all_channels() -> None:
    peaks = np.array([100.0, 1.0, 10.0, 3.0])
    ids = np.arange(1, 5)
    noise = ValueNoise(ids, np.log(peaks), np.log(peaks), ids, 1 / peaks**2, 255.0)
    scaled = peaks / np.exp(least_noise([noise], 4))
    assert scaled.max() / scaled.min() < 1.3


def test_between_value_and_weight_the_best_scale_is_found() -> None:
    """One outlier channel in front of a dense weight: the least noise over a fine grid of its scale."""
    peaks = np.array([64.0, 1.0, 1.0, 1.0])
    ids = np.array([1, 0, 0, 0])
    terms: list[Term] = [
        ValueNoise(ids, np.log(peaks), np.log(peaks), ids, np.full(4, 0.25), 255.0),
        WeightNoise(
            np.zeros((1, 3, 4), np.float32), ids[None], np.zeros((1, 3), np.int64), (peaks**2)[None] / 3,
            np.full((1, 3), 1 / 3), 127.0, True,
        ),
    ]  # fmt: skip
    grid = np.linspace(-1, 6, 701)
    best = min(total(terms, np.array([t]), 24.0)[0] for t in grid)
    found = least_noise(terms, 1)
    assert total(terms, found, 24.0)[0] < 1.05 * best
    assert total(terms, np.zeros(1), 24.0)[0] > 2 * best, "the outlier costs"
