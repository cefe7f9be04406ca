"""The integers of fixed_point against Python's unbounded ones and fractions."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxq.errors import PassError
from onnxq.quant.fixed_point import FixedPoint, Term, fixed_point, prove_int32, signed_bits

REALS = st.floats(2.0**-24, 2.0**8) | st.floats(-(2.0**8), -(2.0**-24))


def _term(real: float, low: int, high: int, bias: int = 0) -> Term:
    return Term(np.asarray(real), *(np.asarray(v, np.int64) for v in (low, high, bias)))


def _run(fixed: FixedPoint, values: tuple[int, ...]) -> int:
    """The graph of the integer model with unbounded numbers, proving that its words suffice."""
    total = sum(int(m) * q for m, q in zip(fixed.multipliers, values, strict=True)) + int(fixed.addend)
    shifted = total + (fixed.window << fixed.shift)
    assert 0 <= shifted < 2**fixed.word
    code = min(max(shifted >> fixed.shift, fixed.window + fixed.low), fixed.window + fixed.high)
    return code - fixed.window


@given(
    reals=st.lists(REALS, min_size=1, max_size=3),
    values=st.lists(st.integers(-(2**20), 2**20), min_size=3, max_size=3),
    bias=st.integers(-(2**30), 2**30),
    zero_point=st.integers(-128, 255),
    narrow=st.booleans(),
)
def test_codes_are_exact_up_to_the_stated_error(
    reals: list[float], values: list[int], bias: int, zero_point: int, narrow: bool
) -> None:
    terms = [_term(real, -(2**20), 2**20, bias) for real in reals]
    try:
        fixed = fixed_point(terms, zero_point, -(10**6), 10**6, narrow=narrow)
    except PassError:  # rightly, where a multiplier below two units of the greatest one's 2^30 loses a code
        assert max(map(abs, reals)) / min(map(abs, reals)) > 2.0**28
        return
    exact = zero_point + sum(Fraction(r) * (v + bias) for r, v in zip(reals, values, strict=False))
    error = sum(abs(v + bias) for v, _ in zip(values, reals, strict=False)) * Fraction(
        1, 2 ** (fixed.shift + 1)
    )
    got = _run(fixed, tuple(values[: len(reals)]))
    least, most = (
        min(max((exact + e + Fraction(1, 2)).__floor__(), -(10**6)), 10**6) for e in (-error, error)
    )
    assert least <= got <= most


@given(real=REALS, low=st.integers(-(2**31), 0), high=st.integers(0, 2**31 - 1))
def test_no_value_of_the_interval_leaves_the_word(real: float, low: int, high: int) -> None:
    fixed = fixed_point([_term(real, low, high)], 255, 0, 255)
    assert fixed.window % 256 == 0
    assert abs(int(fixed.multipliers[0])) <= 2**30
    for value in (low, high, 0):
        _run(fixed, (value,))


@given(low=st.integers(-(2**40), 2**40), length=st.integers(0, 2**40))
def test_signed_bits_is_the_smallest_width(low: int, length: int) -> None:
    bits, high = signed_bits(low, low + length), low + length
    fits = [-(1 << (b - 1)) <= low and high < 1 << (b - 1) for b in (bits, bits - 1) if b]
    assert fits == [True, False][: len(fits)]


def test_one_shift_serves_all_channels() -> None:
    fixed = fixed_point([Term(np.array([0.5, 2.0**-20]), np.array(-(2**20)), np.array(2**20))], 3, 0, 255)
    assert [_run(_channel(fixed, c), (v,)) for c, v in ((0, 5), (0, -3), (1, 2**20))] == [6, 2, 4]


def _channel(fixed: FixedPoint, channel: int) -> FixedPoint:
    return replace(fixed, multipliers=(fixed.multipliers[0][channel],))


def test_equal_multipliers_become_one_number() -> None:
    fixed = fixed_point([Term(np.full((4, 1, 1), 0.25), np.array(-9), np.array(9))], 0, 0, 255)
    assert fixed.multipliers[0].shape == ()


def test_narrow_words_are_used_only_where_they_are_precise_enough() -> None:
    assert fixed_point([_term(1.0, -255, 255)], 0, 0, 255, narrow=True).word == 32
    assert fixed_point([_term(1.0, -(2**16), 2**16)], 0, 0, 255, narrow=True).word == 64


def _brute_force_ties(real: Fraction, reach: int) -> bool:
    return any((real * q).denominator == 2 for q in range(reach + 1))


@given(numerator=st.integers(1, 64), exponent=st.integers(0, 8), divisor=st.sampled_from([1, 3, 10, 49]))
def test_ties_are_foreseen(numerator: int, exponent: int, divisor: int) -> None:
    """All ties of multipliers n/2^k and no others; those of other fractions are rounded away."""
    real = Fraction(numerator, divisor << exponent)
    fixed = fixed_point([_term(float(real), -300, 200)], 0, 0, 255)
    dyadic = real.denominator & (real.denominator - 1) == 0
    assert fixed.ties == (dyadic and _brute_force_ties(real, 300))


def test_refusals_name_the_place_and_the_bits() -> None:
    with pytest.raises(PassError, match="Conv 'a': its accumulator can need 33 bits and int32 has 32"):
        prove_int32(np.array(0), np.array(2**31), "Conv 'a'")
    with pytest.raises(PassError, match=r"Conv 'a': rescaling its result needs .* bits and 64 are there"):
        fixed_point([_term(2.0**40, -(2**31), 2**31)], 0, 0, 255, where="Conv 'a'")
    with pytest.raises(PassError, match="Conv 'a': a ratio of scales is infinite"):
        fixed_point([_term(np.inf, 0, 1)], 0, 0, 255, where="Conv 'a'")


def test_scales_so_far_apart_that_nothing_is_left_are_refused() -> None:
    with pytest.raises(
        PassError, match="'Add': its multiplier 1e-14 rounds to 0·2\\^-45, so that nothing is left"
    ):
        fixed_point([_term(1e-14, 0, 255), _term(1e-15, 0, 255)], 0, 0, 255, where="'Add'", narrow=True)
    channels = Term(np.asarray([2.0**12, 2.0**-20]), *np.asarray([[0, 0], [2**20, 2**20]]))
    with pytest.raises(
        PassError, match=r"rounds to 0·2\^-18, which loses 1 codes, for the greatest is 4\.1e\+03"
    ):
        fixed_point([channels], 0, 0, 255)


def test_dead_channels_and_faint_operands_pass() -> None:
    """What rounds to nothing in the Q/DQ graph too is no loss."""
    channels = Term(np.asarray([0.01, 1e-20, 0.0]), np.zeros((), np.int64), np.asarray(2**15))
    assert fixed_point([channels], 0, 0, 255).multipliers[0].tolist()[1:] == [0, 0]
    fixed_point([_term(0.5, 0, 255), _term(1e-14, 0, 255)], 0, 0, 255)
