"""The names a user probably meant, for the end of an error message."""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Iterable[str], count: int) -> list[str]:
    """Up to ``count`` of the known names, the closest first; empty if none is close."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.5)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'image'?`` for the closest of the known names, or nothing if none is close."""
    near = nearest(name, known, 1)
    return f"; did you mean '{near[0]}'?" if near else ""
