"""What a search for mixed precision may spend, and what it found."""

from dataclasses import dataclass

from onnxq.errors import UsageError
from onnxq.evaluate.bench import Effect
from onnxq.search.exemptions import Exemption

__all__ = ["Budget", "Precision"]


@dataclass(frozen=True)
class Budget:
    """What the search may spend or must reach; exactly one is given.

    sqnr: dB that every output must reach, with as few exemptions as possible.
    coverage: the share, 0 to 1, of the nodes on 8-bit integers without exemptions that must stay so; the
        noise is made as low as that allows.
    size: the largest share, 0 to 1, of the float weights' bytes; 8 bits are 0.25, 4 bits packed 0.125.
    metric_drop: the share, 0 to 1, of decisions (argmax) that may be others than the float model's. With few
        samples this says little: 1 % needs hundreds.
    """

    sqnr: float | None = None
    coverage: float | None = None
    size: float | None = None
    metric_drop: float | None = None

    def __post_init__(self) -> None:
        given = {k: v for k, v in vars(self).items() if v is not None}
        if len(given) != 1:
            names = ", ".join(given) or "none"
            raise UsageError(f"give one of {', '.join(vars(self))} as the budget; found {names}")
        for name in ("coverage", "size", "metric_drop"):
            if name in given and not 0 <= given[name] <= 1:
                raise UsageError(f"{name} is a share, 0 to 1, not {given[name]:g}")


@dataclass(frozen=True)
class Precision:
    """What was found: the exemptions in the order of their use, and the recipe that says them."""

    chosen: tuple[Exemption, ...]
    recipe: str
    before: Effect
    after: Effect
    coverage: float
    """Share of the nodes that were on 8-bit integers and still are."""
    size: float
    """Share of the float weights' bytes, each weight at its bits."""
    measured: int
    """Combinations that were run."""
    complete: bool
    """False where the time ran out first."""
    reached: bool
