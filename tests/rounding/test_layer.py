"""A layer's error as a quadratic, what may change, and the proof on held-back rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxq.graph.numeric import FloatArray
from onnxq.rounding.layer import METHODS, Freedom, round_layer
from onnxq.rounding.observed import Evidence
from onnxq.rounding.quadratic import Sums
from onnxq.rounding.steps import Steps


def _sums(rows: FloatArray, outputs: FloatArray) -> Sums:
    sums = Sums(rows.shape[1], outputs.shape[2], rows.shape[2])
    for part in (slice(0, 5), slice(5, None)):
        sums.add(rows[part].astype(np.float32), outputs[part].astype(np.float32))
    return sums


def _apply(weights: FloatArray, rows: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("gnk,rgk->rgn", weights, rows))


def test_the_quadratic_is_the_mean_squared_error_with_or_without_the_best_bias() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(1, 1, (40, 2, 5)).astype(np.float32)
    outputs, weights = rng.normal(2, 1, (40, 2, 3)).astype(np.float32), rng.normal(size=(2, 3, 5))
    sums, error = _sums(rows, outputs), outputs - _apply(weights, rows)
    np.testing.assert_allclose(
        sums.quadratic(centred=False).error(weights), (error**2).mean(axis=0), rtol=1e-5
    )
    np.testing.assert_allclose(sums.quadratic(centred=True).error(weights), error.var(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sums.shift(weights), error.mean(axis=0), rtol=1e-5)


def test_the_minimum_is_least_squares_and_dead_inputs_keep_their_weights() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(60, 1, 4))
    rows[:, :, 3] = 0
    outputs, start = rng.normal(size=(60, 1, 2)), rng.normal(size=(1, 2, 4))
    found = _sums(rows, outputs).quadratic(centred=False).minimum(start, 1e-9)
    expected = np.linalg.lstsq(rows[:, 0, :3], outputs[:, 0], rcond=None)[0].T
    np.testing.assert_allclose(found[0, :, :3], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[0, :, 3], start[0, :, 3])


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("seed", range(4))
def test_inputs_that_are_constant_but_for_float32_noise_are_rounded(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.normal(3, 1, (1, 2, 9)), 11, axis=0)
    weights = rng.normal(size=(2, 3, 9))
    sums = _sums(rows, _apply(weights, rows))
    steps = Steps(np.full((2, 3, 1), 0.5), np.array(-3.0), np.array(3.0))
    made = round_layer(weights, Evidence(sums, sums), steps, METHODS[name], Freedom())
    steps_made = made.weights / made.scale
    np.testing.assert_allclose(steps_made, np.rint(steps_made), atol=1e-6)
    assert np.abs(steps_made).max() <= 3 + 1e-6


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(METHODS)), st.booleans(), st.booleans())
@settings(max_examples=40)
def test_no_output_becomes_worse_on_the_held_back_rows(seed: int, name: str, move: bool, bias: bool) -> None:
    rng = np.random.default_rng(seed)
    groups, outputs, inputs = rng.integers(1, 4, 3)
    weights = rng.normal(size=(groups, outputs, inputs))
    x = rng.normal(rng.normal(), 1, (2, 12, groups, inputs))
    y = np.stack([_apply(weights, part) for part in x]) + 0.1 * rng.normal(size=(2, 12, groups, outputs))
    scale = np.float32(np.abs(weights).max(axis=2, keepdims=True) / 3).astype(float) + 1e-9
    steps = Steps(scale.astype(np.float32).astype(float), np.array(-3.0), np.array(3.0))
    evidence = Evidence(_sums(x[0], y[0]), _sums(x[1], y[1]))
    made = round_layer(weights, evidence, steps, METHODS[name], Freedom(move, bias, scale=True))

    def error(w: FloatArray, shift: FloatArray) -> FloatArray:
        return np.asarray(((y[1] - _apply(w, x[1]) - shift) ** 2).mean(axis=0))

    nearest = error(steps.nearest(weights) * steps.scale, np.zeros(made.shift.shape))
    np.testing.assert_allclose(made.before, nearest, rtol=1e-3, atol=1e-5)
    assert np.all(error(made.weights, made.shift) <= nearest * (1 + 1e-4) + 1e-6)
    assert bias or not made.shift.any()
    codes = made.weights / made.scale
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-9)
    assert np.abs(codes).max() <= 3


def test_a_layer_makes_up_for_a_gain_and_an_offset_of_its_inputs() -> None:
    """x̂ = 0.9 x + 0.2: weights grow by 1/0.9 and the bias takes the offset away, as far as 8 bits can say."""
    rng = np.random.default_rng(3)
    weights, x = rng.normal(size=(1, 4, 6)), rng.normal(size=(400, 1, 6))
    seen, wanted = 0.9 * x + 0.2, _apply(weights, x)
    steps = Steps(np.float32(np.full((1, 4, 1), 0.04)).astype(float), np.array(-127.0), np.array(127.0))
    evidence = Evidence(_sums(seen[:300], wanted[:300]), _sums(seen[300:], wanted[300:]))
    made = round_layer(weights, evidence, steps, METHODS["reconstruct"], Freedom())
    np.testing.assert_allclose(made.weights, weights / 0.9, atol=0.06)
    np.testing.assert_allclose(made.shift, -0.2 * made.weights.sum(axis=2), atol=0.02)
    assert made.after.sum() < 0.02 * made.before.sum()


@pytest.mark.parametrize("free", [Freedom(), Freedom(move=False, bias=False, scale=False)])
def test_what_has_no_error_stays_as_it_is(free: Freedom) -> None:
    rng = np.random.default_rng(4)
    steps = Steps(np.full((1, 1, 1), 0.25), np.array(-7.0), np.array(7.0))
    weights = rng.integers(-7, 8, (1, 3, 5)) * 0.25
    rows = rng.integers(-8, 8, (20, 1, 5)) * 0.5
    evidence = Evidence(*(2 * [_sums(rows, _apply(weights, rows))]))
    made = round_layer(weights, evidence, steps, METHODS["gptq"], free)
    np.testing.assert_array_equal(made.weights, weights)
    np.testing.assert_allclose(made.shift, 0, atol=1e-12)
