"""Scales that are powers of two round every range up: move whole values to where little is lost.

A number c added to all t of a value shifts the logarithms of its own step by −c, of its readers' weights by
+c and of its maker's by −c, and leaves the noise of least_noise as it is. What differs is the rounding up,

    Σ_k n_k · 4^(⌈u_k + a_k c⌉ − (u_k + a_k c))       u_k = log2 Δ_k,  a_k = −1, 0 or 1

which has period 1 in c and falls to the next jump: the best c brings some step just below a power of two.
"""

from collections.abc import Sequence

import numpy as np

from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.quant.channel_scale.noise import Scaled, Term, total
from onnxq.quant.channel_scale.trace import Trace

__all__ = ["align"]

_ROUNDS = 4
_MARGIN = 0.01
"""Below the power of two, as a logarithm: ranges measured again differ a little."""
_SHARP = 400.0


def align(terms: Sequence[Term], found: Trace, t: FloatArray) -> FloatArray:
    """``t`` with whole values moved so that rounding steps up to powers of two adds least noise."""
    rounded = [term for term in terms if term.power_of_two]
    sets = _sets(found)
    ways = np.array([[_way(term, members) for members in sets] for term in rounded])
    ways = ways.reshape(len(rounded), len(sets))
    movable = np.isfinite(ways).all(0) & (ways != 0).any(0)
    steps = np.array([np.log2(term.step(Scaled(t))) for term in rounded])
    noise = np.array([total([term], t, _SHARP)[0] for term in rounded])
    offsets = np.zeros(len(sets))
    for _ in range(_ROUNDS):
        for s in np.flatnonzero(movable):
            near = ways[:, s] != 0
            others = np.where(np.isfinite(ways[near]), ways[near], 0.0) @ np.where(movable, offsets, 0.0)
            at = steps[near] + others - ways[near, s] * offsets[s]
            offsets[s] = _best(at, ways[near, s], noise[near])
    moved = t.copy()
    for members, offset in zip(sets, offsets, strict=True):
        signs = np.sign(members)
        moved[np.abs(members) - 1] += signs * np.log(2.0) * offset
    return moved


def _sets(found: Trace) -> list[IntArray]:
    """The signed numbers of each value, each set once."""
    made: dict[bytes, IntArray] = {}
    for ids in found.ids.values():
        members = np.unique(ids[ids != 0])
        if len(np.unique(np.abs(members))) == len(members):
            made.setdefault(np.sort(np.abs(members)).tobytes(), members)
    return list(made.values())


def _way(term: Term, members: IntArray) -> float:
    """How the logarithm of a term's step moves with a set: a number, or NaN where only part of it moves."""
    way = 0.0
    for ids, sign in term.ways:
        inside, against = np.isin(ids, members), np.isin(ids, -members)
        if inside.all():
            way += sign
        elif against.all():
            way -= sign
        elif inside.any() or against.any():
            return float("nan")
    return way


def _best(steps: FloatArray, ways: FloatArray, noise: FloatArray) -> float:
    """The offset in [−½, ½) of least noise; steps are logarithms to base 2."""
    candidates = np.append((-_MARGIN - steps) * ways % 1, 0.0)
    at: Array = steps[:, None] + ways[:, None] * candidates
    cost = (noise[:, None] * 4 ** (np.ceil(at) - at)).sum(0)
    best = float(candidates[cost.argmin()])
    return best - 1 if best >= 0.5 else best
