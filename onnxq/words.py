"""Words for messages."""

from collections.abc import Iterable, Sequence

__all__ = ["indented", "listed", "plural"]


def plural(count: int, noun: str) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(items: Iterable[str], limit: int = 4) -> str:
    """``a, b, c, d and 3 more``."""
    names = list(items)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def indented(lines: Sequence[str], limit: int = 20) -> str:
    """Lines below a sentence, and how many more there are."""
    more = [f"… and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n  ".join([*lines[:limit], *more])
