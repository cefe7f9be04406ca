"""Ratios in place of shifts, against rational arithmetic."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxq.quant.fixed_point import Term, fixed_point
from onnxq.quant.ratio import GOOD, ratio


@settings(max_examples=200)
@given(
    span=st.floats(0, 26),
    spread=st.floats(0, 16),
    low=st.sampled_from([-128, 0]),
    zero=st.integers(0, 255),
    bias=st.integers(0, 30),
    seed=st.integers(0, 2**16),
)
def test_one_term_is_as_exact_as_promised(
    span: float, spread: float, low: int, zero: int, bias: int, seed: int
) -> None:
    """Long and short accumulators, channels of very different scales, large biases: each code is right."""
    rng = np.random.default_rng(seed)
    real = 2.0 ** (8 - span - rng.uniform(0, spread, 4)) * rng.choice([-1, 1], 4)
    reach = np.full(4, 1 << min(int(span) + 2, 30), np.int64)
    biases = rng.integers(-(2**bias), 2**bias + 1, 4)
    fixed = fixed_point([Term(real, -reach, reach, biases)], zero + low, low, low + 255)
    found = ratio(fixed)
    if found is None:
        return
    q = np.concatenate(
        [rng.integers(-reach, reach + 1, (100, 4)), [reach, -reach], np.clip([-biases], -reach, reach)]
    )
    t = q if found.least is None or found.most is None else np.clip(q, found.least, found.most)
    dividend = t * found.multipliers[0] + found.addend
    assert dividend.min() >= 0
    assert max(dividend.max(), np.abs(t * found.multipliers[0]).max(), np.abs(found.addend).max()) < 2**31
    codes = dividend // found.divisor - found.window
    if not found.clamped:
        codes = np.clip(codes, low, low + 255)
    for row in range(len(q)):
        for c in range(4):
            exact = Fraction(float(real[c])) * int(q[row, c] + biases[c]) + zero + low
            inside = min(max(exact, Fraction(low)), Fraction(low + 255))
            assert abs(inside - int(codes[row, c])) <= Fraction(1, 2) + Fraction(GOOD)


def test_channels_beyond_the_clamp_are_constants() -> None:
    """The first is 80 codes below zero for every q, so that clamped accumulators are clamped codes."""
    low, high = np.array([-(1 << 29), -(1 << 19)]), np.array([0, 1 << 19])
    fixed = fixed_point([Term(np.array([0.3, 0.0101]), low, high, np.array([-268, 3]))], 0, 0, 255)
    found = ratio(fixed)
    assert found is not None
    assert found.least is not None
    assert found.most is not None
    assert found.clamped
    for q, codes in ((low, [0, 0]), (high, [0, 255])):
        dividend = np.clip(q, found.least, found.most) * found.multipliers[0] + found.addend
        assert (dividend // found.divisor - found.window).tolist() == codes


@given(reals=st.lists(st.floats(2.0**-6, 2.0), min_size=2, max_size=3), seed=st.integers(0, 2**16))
def test_several_terms_share_a_divisor(reals: list[float], seed: int) -> None:
    low, high, bias = (np.asarray(number, np.int64) for number in (0, 255, -99))
    terms = [Term(np.asarray(real), low, high, bias) for real in reals]
    found = ratio(fixed_point(terms, 128, 0, 255))
    if found is None:
        return
    q = np.random.default_rng(seed).integers(0, 256, (len(reals), 50))
    total = sum(m * codes for m, codes in zip(found.multipliers, q, strict=True)) + found.addend
    assert total.min() >= 0
    assert total.max() < 2**31
    codes = np.clip(total // found.divisor - found.window, 0, 255)
    exact = np.clip(sum(r * (codes - 99) for r, codes in zip(reals, q, strict=True)) + 128, 0, 255)
    assert np.abs(codes - exact).max() <= 0.5 + GOOD
