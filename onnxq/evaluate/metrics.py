"""How far a tensor is from its reference, over any number of samples in constant memory.

Each metric is fed with ``update(reference, test)`` and asked with ``value()``. Sums are float64. Elements
where both are the same infinity or both NaN count as equal; where just one is, the error is infinite.
"""

import math

import numpy as np

from onnxq.errors import DataError
from onnxq.graph.numeric import Array, FloatArray, IntArray
from onnxq.words import plural

__all__ = [
    "Agreement",
    "CodeMatch",
    "Cosine",
    "LabelMatch",
    "MaxError",
    "Sqnr",
    "cosine",
    "decisions",
    "sqnr_db",
]


class Sqnr:
    """Signal to quantization noise ratio in dB, over all elements of all samples.

    SQNR = 10 · log10(Σ r² / Σ (r − t)²); infinite where nothing differs.
    """

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def update(self, reference: Array, test: Array) -> None:
        r, error = _finite(reference), _error(reference, test)
        self._signal += float(r @ r)
        self._noise += float(error @ error)

    def value(self) -> float:
        if self._noise == 0:
            return math.inf
        return 10 * math.log10(ratio) if (ratio := self._signal / self._noise) else -math.inf


class Cosine:
    """Cosine of the angle between all elements read as one vector; 1 if both are zero."""

    def __init__(self) -> None:
        self._product = self._reference = self._test = 0.0

    def update(self, reference: Array, test: Array) -> None:
        r, t = _finite(reference), _finite(test)
        self._product += float(r @ t)
        self._reference += float(r @ r)
        self._test += float(t @ t)

    def value(self) -> float:
        norms = math.sqrt(self._reference) * math.sqrt(self._test)
        return self._product / norms if norms else float(self._reference == self._test)


class MaxError:
    """The largest absolute difference, in the unit of the tensor."""

    def __init__(self) -> None:
        self._largest = 0.0

    def update(self, reference: Array, test: Array) -> None:
        self._largest = max(self._largest, float(np.abs(_error(reference, test)).max(initial=0.0)))

    def value(self) -> float:
        return self._largest


class Agreement:
    """Share of equal decisions, see :func:`decisions`; None where there is nothing to decide."""

    def __init__(self) -> None:
        self._equal = self._total = 0

    def update(self, reference: Array, test: Array) -> None:
        chosen, other = decisions(reference), decisions(test)
        if chosen is not None and other is not None:
            self._equal += int(np.count_nonzero(chosen == other))
            self._total += chosen.size

    def value(self) -> float | None:
        return self._equal / self._total if self._total else None


class CodeMatch:
    """Integer codes: the share of equal ones, and the largest difference in steps."""

    def __init__(self) -> None:
        self._equal = self._total = self._largest = 0

    def update(self, reference: Array, test: Array) -> None:
        r, t = (array.reshape(-1).astype(np.int64) for array in (reference, test))
        self._equal += int(np.count_nonzero(r == t))
        self._total += r.size
        # max - min wraps in int64 where codes are far apart, and is exact again when read as unsigned.
        far = (np.maximum(r, t) - np.minimum(r, t)).view(np.uint64)
        self._largest = max(self._largest, int(far.max(initial=0)))

    def value(self) -> float:
        return self._equal / self._total if self._total else 1.0

    def largest(self) -> int:
        return self._largest


class LabelMatch:
    """Top-1 of two models: the share of items whose :func:`decisions` are the labelled ``classes``.

    Labels go with the items of all batches in the order of the samples.

    Raises:
        DataError: an item has several decisions or no label, or labels are left over at the end.
    """

    def __init__(self, classes: IntArray) -> None:
        self._classes = classes
        self._seen = self._hits = self._test_hits = 0

    def update(self, sample: str, reference: Array, test: Array) -> None:
        items = reference.shape[0] if reference.ndim > 1 else 1
        expected = self._classes[self._seen : self._seen + items]
        chosen, other = decisions(reference), decisions(test)
        if chosen is None or other is None or not chosen.size == other.size == items:
            raise DataError(
                f"sample '{sample}': labels need one class per item, but an output of shape "
                f"{list(reference.shape)} does not give one: compare without labels"
            )
        if expected.size != items:
            raise DataError(
                f"sample '{sample}' has no label: found only {plural(self._classes.size, 'label')}"
            )
        self._seen += items
        self._hits += int(np.count_nonzero(chosen == expected))
        self._test_hits += int(np.count_nonzero(other == expected))

    def value(self) -> tuple[float, float]:
        """Top-1 of the reference and of the model under test."""
        if self._seen != self._classes.size:
            labels, items = plural(self._classes.size, "label"), plural(self._seen, "item")
            raise DataError(f"found {labels} for {items}: give one for each")
        return self._hits / self._seen, self._test_hits / self._seen


def decisions(output: Array) -> IntArray | None:
    """The index of the largest element along the last axis that has more than one, batch axis excepted.

    [N,1000] and [N,1000,1,1] give N decisions, [N,A,85] gives N·A; a single vector gives one. None if each
    item of the batch is one number.
    """
    axes = [axis for axis, size in enumerate(output.shape) if size > 1 and (axis > 0 or output.ndim == 1)]
    if not axes or output.size == 0:
        return None
    return np.asarray(output.argmax(axis=axes[-1])).reshape(-1)


def sqnr_db(reference: Array, test: Array) -> float:
    """:class:`Sqnr` of one pair of arrays."""
    metric = Sqnr()
    metric.update(reference, test)
    return metric.value()


def cosine(reference: Array, test: Array) -> float:
    """:class:`Cosine` of one pair of arrays."""
    metric = Cosine()
    metric.update(reference, test)
    return metric.value()


def _finite(array: Array) -> FloatArray:
    values = array.reshape(-1).astype(np.float64)
    return np.where(np.isfinite(values), values, 0.0)


def _error(reference: Array, test: Array) -> FloatArray:
    r, t = (array.reshape(-1).astype(np.float64) for array in (reference, test))
    with np.errstate(invalid="ignore"):
        error = r - t
    error[(r == t) | (np.isnan(r) & np.isnan(t))] = 0.0
    return np.where(np.isnan(error), np.inf, error)
