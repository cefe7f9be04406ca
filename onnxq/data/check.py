"""Do the samples fit the model? Answered before any work, with the sample's name.

Dtypes: a value arrives as the dtype that the model declares. Cast are floats of another width (float64 is
rounded to float32) and integers whose every value the declared dtype can hold; anything else is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnxq.data.samples import InputSpec, Sample, Samples, digest
from onnxq.errors import DataError
from onnxq.graph.numeric import Array
from onnxq.suggest import did_you_mean
from onnxq.words import plural

__all__ = ["CheckedSamples", "check_samples", "fit"]


@dataclass(frozen=True)
class CheckedSamples(Samples):
    """Samples that fitted the model when they were checked; cast, and checked again, as they are loaded."""

    samples: Samples
    specs: Sequence[InputSpec]
    count: int
    checksum: str

    def __iter__(self) -> Iterator[Sample]:
        seen = 0
        for sample in self.samples:
            seen += 1
            yield fit(sample, self.specs)
        if seen != self.count:
            raise DataError(
                f"the source gave {plural(self.count, 'sample')} when they were checked and {seen} now: "
                "it must give the same ones at each pass"
            )

    def __len__(self) -> int:
        return self.count

    def fingerprint(self) -> str:
        return self.checksum


def check_samples(samples: Samples, specs: Sequence[InputSpec]) -> CheckedSamples:
    """Go through all samples once, one at a time, and return them as the model takes them.

    Raises:
        DataError: there are none; or one lacks an input or has one too many, or an array is of another
            dtype, rank or size than the model declares, or holds NaN or infinity; or all are of length zero.
    """
    count = 0

    def counted() -> Iterator[Sample]:
        nonlocal count
        for sample in samples:
            count += 1
            yield fit(sample, specs)

    checksum = digest(counted())
    if count == 0:
        raise DataError("no samples found: the source is empty")
    return CheckedSamples(samples, specs, count, checksum)


def fit(sample: Sample, specs: Sequence[InputSpec]) -> Sample:
    """One sample with the model's inputs in their order and of their dtypes.

    Raises:
        DataError: as for :func:`check_samples`; names the sample and the input.
    """
    names = [spec.name for spec in specs]
    for name in names:
        if name not in sample.feeds:
            given = ", ".join(f"'{key}'" for key in sample.feeds) or "nothing"
            hint = did_you_mean(name, sample.feeds.keys() - set(names))
            raise DataError(f"sample '{sample.name}' has no input '{name}'; it has {given}{hint}")
    for key in sample.feeds:
        if key not in names:
            known = ", ".join(f"'{name}'" for name in names)
            raise DataError(
                f"sample '{sample.name}' has '{key}', but the model's inputs are {known}: remove it"
            )
    fitted = {spec.name: _fit(sample.name, sample.feeds[spec.name], spec) for spec in specs}
    if fitted and not any(array.size for array in fitted.values()):
        raise DataError(f"sample '{sample.name}' is empty: no input has an element; remove that sample")
    return Sample(sample.name, fitted)


def _fit(sample: str, array: Array, spec: InputSpec) -> Array:
    where = f"sample '{sample}': input '{spec.name}'"
    if not _agree(array.shape, spec.shape):
        found, wanted = (_shape(shape) for shape in (array.shape, spec.shape))
        raise DataError(f"{where} has shape {found}, the model expects {wanted}{_shape_advice(array, spec)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{where} holds NaN or infinity: repair or remove that sample")
    return _cast(where, array, spec.dtype)


def _cast(where: str, array: Array, dtype: np.dtype[np.generic]) -> Array:
    if array.dtype == dtype:
        return array
    if array.dtype.kind == dtype.kind == "f":
        with np.errstate(over="ignore"):
            cast = array.astype(dtype)
        if np.isfinite(cast).all():
            return cast
        raise DataError(f"{where} holds values beyond the range of {dtype}, the model's type")
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        limits = np.iinfo(dtype.name)
        if array.size == 0 or (int(array.min()) >= limits.min and int(array.max()) <= limits.max):
            return array.astype(dtype)
        raise DataError(f"{where} holds {array.min()} to {array.max()}, which {dtype} cannot")
    raise DataError(
        f"{where} is {array.dtype}, the model expects {dtype}: "
        f"store it as {dtype}, preprocessed as in training"
    )


def _agree(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted, strict=True))


def _shape_advice(array: Array, spec: InputSpec) -> str:
    shape, wanted = array.shape, spec.shape
    if len(shape) + 1 == len(wanted) and _agree((1, *shape), wanted):
        return ": add the batch axis"
    if len(shape) == len(wanted) + 1 and _agree(shape[1:], wanted):
        return ": remove the first axis, or store one sample a file"
    if len(shape) == len(wanted) and _agree((1, *shape[1:]), wanted):
        return ": store one sample a file"
    if len(shape) == 4 and _agree((shape[0], shape[3], shape[1], shape[2]), wanted):
        return ": its channels come last, transpose it with (0, 3, 1, 2)"
    if len(shape) == 4 and _agree((shape[0], shape[2], shape[3], shape[1]), wanted):
        return ": its channels come first, transpose it with (0, 2, 3, 1)"
    return ""


def _shape(shape: tuple[int | None, ...]) -> str:
    free = ["N", *["?"] * len(shape)]
    return f"[{','.join(free[axis] if dim is None else str(dim) for axis, dim in enumerate(shape))}]"
