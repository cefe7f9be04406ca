"""Equations between scales, against linear algebra over the same equations."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onnxq.quant.channel_scale.unknowns import Unknowns

COUNT = 6
numbers = st.integers(-COUNT, COUNT)


@given(st.lists(st.tuples(numbers, numbers), max_size=12))
def test_what_is_settled_is_the_space_of_solutions(equations: list[tuple[int, int]]) -> None:
    unknowns = Unknowns()
    unknowns.fresh((2, 3))
    for a, b in equations:
        unknowns.equal(np.array(a), np.array(b))
    settled = unknowns.settle()
    system = np.array([_row(a) - _row(b) for a, b in equations]).reshape(-1, COUNT)
    free = len(set(np.abs(settled[settled != 0])))
    assert free == COUNT - (np.linalg.matrix_rank(system) if len(system) else 0)
    some = np.concatenate([[0.0], np.random.default_rng(0).uniform(1, 2, free)])
    solution = np.sign(settled[1:]) * some[np.abs(settled[1:])]
    np.testing.assert_allclose(system @ solution, 0, atol=1e-12)


def test_operands_that_broadcast_share_along_the_axes_they_repeat() -> None:
    unknowns = Unknowns()
    channels, one = unknowns.fresh((1, 3, 1)), unknowns.fresh((1, 1, 1))
    unknowns.equal(channels, one)
    assert len(set(unknowns.settle()[1:])) == 1


def _row(number: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    row = np.zeros(COUNT)
    if number:
        row[abs(number) - 1] = np.sign(number)
    return row
