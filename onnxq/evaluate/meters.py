"""All metrics of one tensor that two models compute, and which outputs of the two are a pair."""

import math
from collections.abc import Mapping
from typing import TypeAlias

from onnxq.data.codes import Codes, align, read_codes
from onnxq.errors import ModelError
from onnxq.evaluate.comparison import TensorComparison
from onnxq.evaluate.metrics import Agreement, CodeMatch, Cosine, MaxError, Sqnr
from onnxq.graph.numeric import Array
from onnxq.runtime import Session

__all__ = ["Meter", "Outputs", "output_meters"]

Outputs: TypeAlias = Mapping[str, Array]


class Meter:
    """All metrics of one tensor; integer codes are compared as codes and as the numbers they stand for."""

    def __init__(
        self,
        name: str,
        test_name: str,
        codes: tuple[Codes | None, Codes | None] = (None, None),
        *,
        integer: bool = False,
    ) -> None:
        self.name, self.test_name, self._codes = name, test_name, codes
        self._code_match = CodeMatch() if integer and codes[0] == codes[1] else None
        self._sqnr, self._cosine, self._error = Sqnr(), Cosine(), MaxError()
        self._agreement = Agreement()
        self._samples = self._mismatched = 0

    def pick(self, reference: Outputs, test: Outputs) -> tuple[Array, Array]:
        """Its two arrays among the outputs of both models."""
        return reference[self.name], test[self.test_name]

    def update(self, reference: Outputs, test: Outputs) -> None:
        """Add one sample; arrays of different sizes are counted, not compared."""
        r, t = self.pick(reference, test)
        if _sizes(r) != _sizes(t):
            self._mismatched += 1
            return
        self._samples += 1
        t = t.reshape(r.shape)
        if self._code_match is not None:
            self._code_match.update(r, t)
        r, t = (c.dequantize(x) if c else x for c, x in zip(self._codes, (r, t), strict=True))
        for metric in (self._sqnr, self._cosine, self._error, self._agreement):
            metric.update(r, t)

    def value(self) -> TensorComparison:
        """What all samples say together; NaN where none could be compared."""
        measured = self._samples > 0
        match = self._code_match if measured else None
        return TensorComparison(
            name=self.name,
            test_name=self.test_name,
            samples=self._samples,
            mismatched=self._mismatched,
            sqnr_db=self._sqnr.value() if measured else math.nan,
            cosine=self._cosine.value() if measured else math.nan,
            max_error=self._error.value() if measured else math.nan,
            agreement=self._agreement.value(),
            codes_equal=match.value() if match else None,
            codes_max_difference=match.largest() if match else None,
        )


def output_meters(reference: Session, test: Session) -> list[Meter]:
    """One meter for each output of numbers that both models have.

    Raises:
        ModelError: they have none in common, or one is integer and nothing says what its codes stand for.
    """
    ours, theirs = (
        {port.name: port.dtype.kind for port in session.outputs if port.dtype.kind in "biuf"}
        for session in (reference, test)
    )
    pairs = align(ours, theirs)
    if not pairs:
        raise ModelError(f"no output of {list(theirs)} matches one of the reference, {list(ours)}")
    return [
        _output_meter((reference, test), names, (ours[names[0]], theirs[names[1]])) for names in pairs.items()
    ]


def _output_meter(sessions: tuple[Session, Session], names: tuple[str, str], kinds: tuple[str, str]) -> Meter:
    left, right = (
        read_codes(session.metadata, name) if kind in "iu" else None
        for session, name, kind in zip(sessions, names, kinds, strict=True)
    )
    real = [kind == "f" or codes is not None for kind, codes in zip(kinds, (left, right), strict=True)]
    if real[0] != real[1]:
        bare = names[1] if real[0] else names[0]
        raise ModelError(
            f"output '{bare}' is integer without metadata onnxq.scale.{bare}, but its twin has real "
            "numbers: add the scale (and onnxq.zero_point) to the model's metadata"
        )
    return Meter(*names, (left, right), integer=kinds[0] in "iu" and kinds[1] in "iu")


def _sizes(array: Array) -> list[int]:
    """The shape without axes of 1: [N,1000,1,1] and [N,1000] hold the same in the same order."""
    return [size for size in array.shape if size != 1]
