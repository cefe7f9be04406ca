"""Which calibration samples are learned from, and on which ones a change has to prove itself.

    position mod 8     0 1 2 . 4 5 6 .     learned from
                       . . . 3 . . . .     a layer's new parameters are chosen on it
                       . . . . . . . 7     the changed model has to be better on it: nothing was chosen there

With four to seven samples every fourth serves both ends; with fewer, all samples serve all three, and a layer
learns from half of its rows.
"""

__all__ = ["HELD_BACK", "chooses", "is_held_back", "proves"]

HELD_BACK = 4
"""Every fourth sample is not learned from."""


def is_held_back(index: int, count: int) -> bool:
    """Whether the sample at a position, of ``count``, is not learned from."""
    return count >= HELD_BACK and index % HELD_BACK == HELD_BACK - 1


def proves(index: int, count: int) -> bool:
    """Whether the changed model has to be better on the sample."""
    if count < 2 * HELD_BACK:
        return count < HELD_BACK or is_held_back(index, count)
    return index % (2 * HELD_BACK) == 2 * HELD_BACK - 1


def chooses(index: int, count: int) -> bool:
    """Whether what a layer gets is chosen on the sample."""
    if count < 2 * HELD_BACK:
        return proves(index, count)
    return is_held_back(index, count) and not proves(index, count)
