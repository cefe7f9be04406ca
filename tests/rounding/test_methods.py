"""The rounding methods against all roundings there are, and what each promises of its result."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxq.graph.numeric import FloatArray
from onnxq.rounding.adaquant import adaquant
from onnxq.rounding.adaround import adaround
from onnxq.rounding.descent import descend
from onnxq.rounding.gptq import gptq
from onnxq.rounding.layer import METHODS
from onnxq.rounding.scales import can_narrow, narrowed
from onnxq.rounding.steps import Steps

SEEDS = st.integers(0, 2**32 - 1)


def _problem(seed: int, inputs: int = 6, outputs: int = 3) -> tuple[FloatArray, FloatArray, Steps]:
    """Weights of a few steps each, and the products of strongly correlated inputs."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((64, 1))
    x = common + 0.3 * rng.standard_normal((64, inputs))
    weights = rng.uniform(-3, 3, (1, outputs, inputs))
    return weights, (x.T @ x / 64)[None], Steps(np.ones((1, 1, 1)), np.array(-3.0), np.array(3.0))


def _error(steps: FloatArray, weights: FloatArray, h: FloatArray) -> FloatArray:
    moved = steps - weights
    return np.asarray(np.einsum("gnk,gkl,gnl->gn", moved, h, moved))


def _least(weights: FloatArray, h: FloatArray) -> FloatArray:
    """The smallest error over all roundings up or down, each output by itself."""
    choices = np.array(list(product((0, 1), repeat=weights.shape[2])))
    candidates = np.floor(weights)[0, :, None, :] + choices
    errors = [_error(c[None], w[None, None], h).min() for c, w in zip(candidates, weights[0], strict=True)]
    return np.array([errors])


def test_error_feedback_finds_the_best_rounding_of_two_correlated_weights() -> None:
    weights = np.array([[[0.5 - 1e-6, 0.5 - 1e-6]]])
    h = np.array([[[1.0, 0.99], [0.99, 1.0]]])
    steps = Steps(np.ones((1, 1, 1)), np.array(-3.0), np.array(3.0))
    assert steps.nearest(weights).sum() == 0, "each by itself goes down, and the sum is off by one"
    assert sorted(gptq(weights, h, steps).ravel()) == [0, 1]
    np.testing.assert_allclose(_error(gptq(weights, h, steps), weights, h), _least(weights, h), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_learned_roundings_come_close_to_the_best_of_all(name: str) -> None:
    nearest, made, least = np.zeros(3)
    for seed in range(20):
        weights, h, steps = _problem(seed)
        nearest += _error(steps.nearest(weights), weights, h).sum()
        made += _error(METHODS[name](weights, h, steps), weights, h).sum()
        least += _least(weights, h).sum()
    assert made - least < 0.25 * (nearest - least), f"{made:.3f} of {nearest:.3f}, the best is {least:.3f}"


@given(SEEDS)
@settings(max_examples=40)
def test_descent_ends_where_no_single_weight_can_be_moved_to_advantage(seed: int) -> None:
    weights, h, steps = _problem(seed)
    start = steps.nearest(weights)
    done = descend(start, weights, h, steps, sweeps=50)
    error = _error(done, weights, h)
    assert np.all(error <= _error(start, weights, h) + 1e-12)
    for k, by in product(range(weights.shape[2]), (-1, 1)):
        moved = done.copy()
        moved[:, :, k] = np.clip(moved[:, :, k] + by, -3, 3)
        assert np.all(_error(moved, weights, h) >= error - 1e-12)


@given(SEEDS)
@settings(max_examples=20)
def test_adaround_goes_up_or_down_and_adaquant_never_ends_above_nearest(seed: int) -> None:
    weights, h, steps = _problem(seed)
    up = adaround(weights, h, steps, iterations=50) - np.floor(weights)
    assert set(np.unique(up)) <= {0.0, 1.0}
    made, nearest = (_error(q, weights, h) for q in (adaquant(weights, h, steps, 50), steps.nearest(weights)))
    assert np.all(made <= nearest * (1 + 1e-4))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_steps_stay_within_the_format_and_groups_apart(name: str) -> None:
    weights, h, steps = _problem(5)
    two = np.concatenate([weights * 9, weights]), np.concatenate([h, 2 * h])
    made = METHODS[name](*two, steps)
    assert made.min() >= -3
    assert made.max() <= 3
    np.testing.assert_array_equal(made, np.rint(made))
    np.testing.assert_array_equal(made[1:], METHODS[name](weights, 2 * h, steps))


def test_weights_on_the_grid_stay_there() -> None:
    weights, h, steps = _problem(1)
    for method in METHODS.values():
        np.testing.assert_array_equal(method(np.rint(weights), h, steps), np.rint(weights))


def test_a_scale_shrinks_where_one_large_weight_would_rule_it() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 1, (1, 2, 400))
    weights[0, 0, 0] = 8.0
    scale = np.abs(weights).max(axis=2, keepdims=True) / 7
    before = Steps(scale.astype(np.float32).astype(float), np.array(-7.0), np.array(7.0))
    after = narrowed(weights, np.eye(400)[None], before)
    errors = [((s.nearest(weights) * s.scale - weights) ** 2).sum(axis=2) for s in (before, after)]
    assert errors[1][0, 0] < 0.7 * errors[0][0, 0]
    assert np.all(errors[1] <= errors[0])


def test_powers_of_two_and_scales_within_an_output_are_not_narrowed() -> None:
    low, high = np.array(-7.0), np.array(7.0)
    assert can_narrow(Steps(np.array([[[0.3], [0.5]]]), low, high))
    assert not can_narrow(Steps(np.array([[[0.25], [0.5]]]), low, high))
    assert not can_narrow(Steps(np.array([[[0.3, 0.4]]]), low, high))
