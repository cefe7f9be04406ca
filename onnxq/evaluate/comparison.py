"""What a comparison of two models found, as plain data."""

import json
import math
from dataclasses import asdict, dataclass

__all__ = ["Comparison", "TensorComparison", "TopOne"]


@dataclass(frozen=True)
class TensorComparison:
    """One tensor of both models, over all samples. Where no sample could be compared, numbers are NaN."""

    name: str
    """Its name in the reference."""
    test_name: str
    samples: int
    """How many samples were compared."""
    mismatched: int
    """How many could not be, because the shapes differ in more than axes of 1."""
    sqnr_db: float
    cosine: float
    max_error: float
    agreement: float | None
    """Share of equal argmax decisions; None where there is nothing to decide."""
    codes_equal: float | None = None
    """Share of equal integer codes; None unless both are integers of one scale and zero point."""
    codes_max_difference: int | None = None


@dataclass(frozen=True)
class TopOne:
    """Share of samples whose first output is largest at the labelled class."""

    reference: float
    test: float


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` measured."""

    samples: int
    outputs: tuple[TensorComparison, ...]
    tensors: tuple[TensorComparison, ...]
    """Intermediate tensors of one name and type, the worst SQNR first, those not comparable last."""
    unmatched: tuple[str, ...]
    """Outputs of the reference that the other model does not have."""
    top1: TopOne | None

    def to_json(self) -> str:
        """Strict JSON: infinities and NaN are the texts "inf", "-inf" and "nan"."""
        return json.dumps(_plain(asdict(self)), indent=1, allow_nan=False)


def _plain(value: object) -> object:
    """Floats that JSON cannot write become texts."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
